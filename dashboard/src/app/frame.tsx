/** The frame around every page: navigation, project, account. On narrow screens, it collapses into a menu. */
import type { Session } from "@supabase/auth-js";
import { useEffect, useState } from "preact/hooks";
import { NotificationsLink } from "../features/notifications/notifications_link.tsx";
import { InvitationBanner } from "../features/project/invitation_banner.tsx";
import { ProjectSwitch } from "../features/project/project_switch.tsx";
import { useMe } from "../lib/queries.ts";
import { href, useRoute } from "../lib/router.ts";
import { signOut } from "../lib/services.ts";
import { Mark } from "../ui/mark.tsx";
import { PageOutlet } from "./page_outlet.tsx";
import { pageGroups, pageName } from "./pages.ts";

export function Frame({ session }: { session: Session }) {
  const route = useRoute();
  const { data: me } = useMe();
  const [isOpen, setIsOpen] = useState(false);
  // Without a project, the only useful page is the one that explains how to get one.
  const current = me?.project === null ? "project" : pageName(route.path);
  const key = `${current} ${route.path.join("/")}`;
  useEffect(() => setIsOpen(false), [key]);
  useEffect(() => {
    if (!isOpen) return;
    const close = ({ key }: KeyboardEvent) => {
      if (key === "Escape") setIsOpen(false);
    };
    addEventListener("keydown", close);
    return () => removeEventListener("keydown", close);
  }, [isOpen]);
  return (
    <div class="frame">
      <a class="skip" href="#main" onClick={focusMain}>Skip to content</a>
      <header class="side">
        <div class="side-head">
          <a class="brand" href={href(["jobs"])}>
            <Mark /> Tunebase
          </a>
          <button
            type="button"
            class="menu-button"
            aria-expanded={isOpen}
            aria-controls="menu"
            onClick={() => setIsOpen(!isOpen)}
          >
            {isOpen ? "Close" : "Menu"}
          </button>
        </div>
        <div id="menu" class={isOpen ? "menu open" : "menu"}>
          <ProjectSwitch />
          <Navigation current={current} />
          <div class="who">
            <span class="quiet small email">{session.user.email}</span>
            <button
              type="button"
              class="small"
              title={`Signed in as ${session.user.email}`}
              onClick={() => void signOut()}
            >
              Sign out
            </button>
          </div>
        </div>
      </header>
      <div class="content">
        <InvitationBanner />
        <PageOutlet name={current} route={route} key={key} />
      </div>
    </div>
  );
}

function Navigation({ current }: { current: string }) {
  const isCurrent = (name: string) => name === current || (name === "jobs" && current === "job");
  return (
    <nav aria-label="Pages">
      {pageGroups.map(({ label, pages }) => (
        <div key={label} role="group" aria-label={label}>
          <p class="quiet small" aria-hidden="true">{label}</p>
          {pages.map((page) => (
            <a
              key={page.name}
              href={href([page.name])}
              aria-current={isCurrent(page.name) ? "page" : undefined}
            >
              {page.label}
            </a>
          ))}
        </div>
      ))}
      <div role="group" aria-label="Help">
        <NotificationsLink isCurrent={isCurrent("notifications")} />
        <a href="docs/">API docs</a>
      </div>
    </nav>
  );
}

/** Following the link to `#main` would change the route. */
function focusMain(event: Event) {
  event.preventDefault();
  document.querySelector<HTMLElement>("#main h1")?.focus();
}
