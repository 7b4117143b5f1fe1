/** A problem that the operator can solve: shown without a stack trace. */
export class DeployError extends Error {
  /** @param fix how to solve it, as a sentence. */
  constructor(message: string, readonly fix: string) {
    super(message);
  }
}
