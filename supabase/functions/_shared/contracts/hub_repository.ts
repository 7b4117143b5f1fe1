/** The Hugging Face Hub's rules for names of repositories, as enforced by huggingface_hub and the Hub. */

export const maxHubNameLength = 96;

/** Words of letters, digits and `_`, joined by `-` and `.`, without `--` or `..`. */
const name = String.raw`[A-Za-z0-9_]+(?:(?:-(?:\.-)*\.?|\.(?:-\.)*-?)[A-Za-z0-9_]+)*`;
export const hubNamePattern = new RegExp(`^${name}$`);
/** With its namespace: `acme/support-bot`. */
export const hubRepositoryPattern = new RegExp(`^${name}/${name}$`);
/** The length of a namespace, a slash and a name. */
export const maxHubRepositoryLength = 2 * maxHubNameLength + 1;

/** What is wrong with the name of a repository, with its namespace, or null. */
export function findHubRepositoryProblem(repository: string): string | null {
  if (!hubRepositoryPattern.test(repository)) {
    return "must be a namespace and a name, such as acme/support-bot, of the characters A–Z a–z 0–9 . _ -; neither may " +
      'begin or end with . or - or contain ".." or "--"';
  }
  if (repository.split("/").some((part) => part.length > maxHubNameLength)) {
    return `must have at most ${maxHubNameLength} characters before and after the slash`;
  }
  return repository.endsWith(".git") ? "must not end with .git" : null;
}

/** Whether jobs can push to a repository. The Hub ignores case in namespaces. */
export function isHubNamespaceAllowed(namespaces: string[], repository: string): boolean {
  const namespace = repository.split("/")[0]?.toLowerCase();
  return namespaces.some((allowed) => allowed.toLowerCase() === namespace);
}
