/** Translates API routes in the server's messages into CLI commands. */

const commands: { [route: string]: string } = {
  "GET /models": "tunebase models list",
  "GET /files": "tunebase files list",
  "GET /files/{id}": "tunebase files get",
  "POST /files": "tunebase files upload",
  "POST /uploads": "tunebase files upload",
  "POST /files/direct": "tunebase files upload",
  "GET /fine_tuning/jobs": "tunebase jobs list",
  "GET /fine_tuning/jobs/{id}": "tunebase jobs get",
  "GET /fine_tuning/jobs/{id}/events": "tunebase jobs events",
  "GET /fine_tuning/jobs/{id}/metrics": "tunebase jobs metrics",
  "POST /fine_tuning/jobs": "tunebase jobs create",
  "POST /fine_tuning/jobs/{id}/cancel": "tunebase jobs cancel",
  "POST /fine_tuning/jobs/{id}/resume": "tunebase jobs resume",
  "POST /fine_tuning/estimates": "tunebase estimate",
  "GET /evaluations": "tunebase evaluations list",
  "POST /evaluations": "tunebase eval",
  "GET /api_keys": "tunebase keys list",
  "POST /api_keys": "tunebase keys create",
  "GET /me": "tunebase whoami",
};

/** Replaces routes that have a command. */
export function nameCommands(text: string): string {
  return text
    .replace("POST /uploads or POST /files/direct", "POST /files")
    .replace(
      /\b(See )?((?:GET|POST) \/[a-z_]+(?:\/(?:[a-z_]+|\{[a-z_]+\}))*)/g,
      (all, see: string | undefined, route: string) => {
        const command = commands[route];
        if (command === undefined) return all;
        return `${see === undefined ? "" : "Run "}\`${command}\``;
      },
    );
}
