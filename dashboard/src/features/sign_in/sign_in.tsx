/** Signing in with a password or a magic link, and creating an account. */
import { useState } from "preact/hooks";
import { useApiMutation } from "../../lib/queries.ts";
import { getServices } from "../../lib/services.ts";
import { Mark } from "../../ui/mark.tsx";
import { Field } from "../../ui/forms.tsx";

type Method = "password" | "link" | "sign_up";
const methods: Record<Method, { label: string; submit: string }> = {
  password: { label: "Password", submit: "Sign in" },
  link: { label: "Magic link", submit: "Send magic link" },
  sign_up: { label: "Sign up", submit: "Create account" },
};

export function SignIn({ linkError, isExpired }: {
  linkError: string | null;
  /** The session ended without the user signing out. */
  isExpired: boolean;
}) {
  const [method, setMethod] = useState<Method>("password");
  const [message, setMessage] = useState<string | null>(null);
  const submit = useApiMutation(async ({ email, password }: { email: string; password: string }) => {
    const { auth } = getServices();
    const returnUrl = new URL(location.pathname, location.href).href;
    setMessage(null);
    if (method === "link") {
      const { error } = await auth.signInWithOtp({
        email,
        options: { emailRedirectTo: returnUrl, shouldCreateUser: false },
      });
      if (error !== null) throw error;
      setMessage(
        `If ${email} has an account, we've sent a sign-in link. It works once and expires in an hour.`,
      );
      return;
    }
    const { data, error } = method === "password"
      ? await auth.signInWithPassword({ email, password })
      : await auth.signUp({
        email,
        password,
        options: { emailRedirectTo: returnUrl },
      });
    if (error !== null) throw error;
    if (data.session === null) {
      setMessage(`We've sent a confirmation link to ${email}.`);
    }
  });
  return (
    <main class="alone" id="main">
      <h1 class="brand">
        <Mark /> Tunebase
      </h1>
      <p class="quiet">Fine-tune open models on your own data.</p>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          // Password managers fill the fields and submit at once, without input events.
          const data = new FormData(event.currentTarget);
          submit.mutate({
            email: String(data.get("email") ?? ""),
            password: String(data.get("password") ?? ""),
          });
        }}
      >
        <fieldset class="ways">
          <legend class="unseen">Sign-in method</legend>
          {(Object.keys(methods) as Method[]).map((each) => (
            <label key={each}>
              <input
                type="radio"
                name="method"
                checked={method === each}
                onChange={() => setMethod(each)}
              />{" "}
              {methods[each].label}
            </label>
          ))}
        </fieldset>
        <Field label="Email">
          {(control) => (
            <input
              {...control}
              type="email"
              name="email"
              autocomplete="username"
              required
            />
          )}
        </Field>
        {method !== "link" && (
          <Field
            label="Password"
            hint={method === "sign_up" ? "At least six characters." : undefined}
          >
            {(control) => (
              <input
                {...control}
                type="password"
                name="password"
                autocomplete={method === "sign_up" ? "new-password" : "current-password"}
                required
              />
            )}
          </Field>
        )}
        {submit.error && <p class="problem" role="alert">{submit.error.message}</p>}
        {linkError && !submit.error && !message && <p class="problem" role="alert">{linkError}</p>}
        {isExpired && !linkError && !submit.error && !message && (
          <p class="notice" role="status">
            Your session has expired. Sign in to continue where you left off.
          </p>
        )}
        {message && <p class="notice" role="status">{message}</p>}
        <button type="submit" class="primary" disabled={submit.isPending}>
          {methods[method].submit}
        </button>
      </form>
    </main>
  );
}
