/** The frame around every page: navigation, project, account. */
import type { Session } from "@supabase/auth-js";
import { NotificationsLink } from "../features/notifications/notifications_link.tsx";
import { InvitationBanner } from "../features/project/invitation_banner.tsx";
import { ProjectSwitch } from "../features/project/project_switch.tsx";
import { useMe } from "../lib/queries.ts";
import { href, useRoute } from "../lib/router.ts";
import { getServices } from "../lib/services.ts";
import { PageOutlet } from "./page_outlet.tsx";
import { pageName, pages } from "./pages.ts";

export function Frame({ session }: { session: Session }) {
  const route = useRoute();
  const { data: me } = useMe();
  // Without a project, the only useful page is the one that explains how to get one.
  const current = me?.project === null ? "project" : pageName(route.path);
  const isCurrent = (name: string) => name === current || (name === "jobs" && current === "job");
  return (
    <div class="frame">
      <a class="skip" href="#main" onClick={focusMain}>Skip to content</a>
      <header class="bar">
        <a class="brand" href={href(["jobs"])}>Tunebase</a>
        <nav aria-label="Pages">
          {Object.entries(pages).map(([name, { label }]) =>
            label === undefined ? null : (
              <a
                key={name}
                href={href([name])}
                aria-current={isCurrent(name) ? "page" : undefined}
              >
                {label}
              </a>
            )
          )}
          <NotificationsLink isCurrent={isCurrent("notifications")} />
          <a href="docs/">API docs</a>
        </nav>
        <div class="who">
          <ProjectSwitch />
          <span class="quiet small email">{session.user.email}</span>
          <button
            type="button"
            class="small"
            title={`Signed in as ${session.user.email}`}
            onClick={() => void getServices().auth.signOut({ scope: "local" })}
          >
            Sign out
          </button>
        </div>
      </header>
      <InvitationBanner />
      <PageOutlet
        name={current}
        route={route}
        key={`${current} ${route.path.join("/")}`}
      />
    </div>
  );
}

/** Following the link to `#main` would change the route. */
function focusMain(event: Event) {
  event.preventDefault();
  document.querySelector<HTMLElement>("#main h1")?.focus();
}
