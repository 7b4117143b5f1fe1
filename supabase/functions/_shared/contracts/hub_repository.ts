/** The rules of the Hugging Face Hub for names of repositories, as huggingface_hub and the Hub's own validation have them. */

export const maxHubNameLength = 96;

/** Words of letters, digits and `_`, joined by `-` and `.`, of which no two equal ones are adjacent. */
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
