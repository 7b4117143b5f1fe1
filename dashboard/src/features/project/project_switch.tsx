/** Switches between the user's projects. */
import { useQuery } from "@tanstack/preact-query";
import { unwrap } from "../../../../client/mod.ts";
import { useMe } from "../../lib/queries.ts";
import { getServices, selectProject } from "../../lib/services.ts";

const useProjects = () =>
  useQuery({
    queryKey: ["projects"],
    queryFn: async () =>
      unwrap(
        await getServices().api.GET("/projects", {
          params: { query: { limit: 100 } },
        }),
      ).data,
    staleTime: 60_000,
  });

export function ProjectSwitch() {
  const { data: me } = useMe();
  const { data: projects } = useProjects();
  if (!me?.project) return null;
  const all = projects?.some(({ id }) => id === me.project?.id) ? projects : [me.project, ...projects ?? []];
  return (
    <label class="switch">
      <span class="unseen">Project</span>
      <select
        value={me.project.id}
        onChange={(event) => {
          selectProject(event.currentTarget.value);
          location.hash = "#/jobs"; // the current page may belong to the previous project
          location.reload();
        }}
      >
        {all.map(({ id, name }) => <option key={id} value={id}>{name}</option>)}
      </select>
    </label>
  );
}
