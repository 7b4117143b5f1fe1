/** The pages, by the first part of the route. All but the first page load on demand. */
import type { FunctionComponent } from "preact";
import { JobsPage } from "../features/jobs/jobs_page.tsx";
import { type PageProps, parseRoute } from "../lib/router.ts";

export type PageComponent = FunctionComponent<PageProps>;

interface PageEntry {
  load: () => Promise<PageComponent>;
  /** The navigation label; without one, the page is not in the navigation. */
  label?: string;
  /** The heading of the navigation section that starts with this page. */
  group?: string;
}

export const pages: Record<string, PageEntry> = {
  jobs: {
    label: "Jobs",
    group: "Training",
    load: () => Promise.resolve(JobsPage),
  },
  new: {
    load: async () => (await import("../features/new_job/new_job_page.tsx")).NewJobPage,
  },
  job: {
    load: async () => (await import("../features/jobs/job_page.tsx")).JobPage,
  },
  compare: {
    load: async () => (await import("../features/compare/compare_page.tsx")).ComparePage,
  },
  files: {
    label: "Files",
    load: async () => (await import("../features/files/files_page.tsx")).FilesPage,
  },
  models: {
    label: "Models",
    group: "Models",
    load: async () => (await import("../features/models/models_page.tsx")).ModelsPage,
  },
  playground: {
    label: "Playground",
    load: async () =>
      (await import("../features/playground/playground_page.tsx"))
        .PlaygroundPage,
  },
  evaluations: {
    label: "Evaluations",
    load: async () =>
      (await import("../features/evaluations/evaluations_page.tsx"))
        .EvaluationsPage,
  },
  completions: {
    label: "Stored completions",
    load: async () =>
      (await import("../features/completions/completions_page.tsx"))
        .CompletionsPage,
  },
  usage: {
    label: "Usage",
    group: "Manage",
    load: async () => (await import("../features/usage/usage_page.tsx")).UsagePage,
  },
  keys: {
    label: "API keys",
    load: async () => (await import("../features/keys/keys_page.tsx")).KeysPage,
  },
  webhooks: {
    label: "Webhooks",
    load: async () => (await import("../features/webhooks/webhooks_page.tsx")).WebhooksPage,
  },
  project: {
    label: "Project",
    load: async () => (await import("../features/project/project_page.tsx")).ProjectPage,
  },
  status: {
    label: "Status",
    load: async () => (await import("../features/status/status_page.tsx")).StatusPage,
  },
  notifications: {
    load: async () =>
      (await import("../features/notifications/notifications_page.tsx"))
        .NotificationsPage,
  },
};

/** The navigation, in the order of `pages`. */
export const pageGroups = Object.entries(pages).reduce<
  { label: string; pages: { name: string; label: string }[] }[]
>((groups, [name, { label, group }]) => {
  if (label === undefined) return groups;
  if (group !== undefined) groups.push({ label: group, pages: [] });
  groups.at(-1)?.pages.push({ name, label });
  return groups;
}, []);

/** The page for a route's path: `/jobs/ID` is a job's page. */
export function pageName([name = "jobs", id]: string[]): string {
  return name === "jobs" && id !== undefined ? "job" : name;
}

/** Starts loading the current page while the configuration and the session are read. */
export function preloadPage(): void {
  // PageOutlet loads the page again and reports errors.
  void pages[pageName(parseRoute(location.hash).path)]?.load().catch(() => {});
}
