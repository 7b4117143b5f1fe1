/** Signing in: e-mail with password, or with a link that is sent. Making an account is the same form. */
import { useState } from "preact/hooks";
import { useChange } from "../data.ts";
import { use } from "../services.ts";
import { Field } from "../ui/basics.tsx";

type Way = "password" | "link" | "new";
const labels: Record<Way, string> = { password: "Sign in", link: "Send me a link", new: "Make an account" };

export function SignIn({ problem }: { problem: string | null }) {
  const [way, setWay] = useState<Way>("password");
  const [email, setEmail] = useState("");
  const [password, setPassword] = useState("");
  const [sent, setSent] = useState<string | null>(null);
  const act = useChange(async () => {
    const { auth } = use();
    const here = new URL(location.pathname, location.href).href;
    setSent(null);
    if (way === "link") {
      const { error } = await auth.signInWithOtp({
        email,
        options: { emailRedirectTo: here, shouldCreateUser: false },
      });
      if (error !== null) throw error;
      setSent(`If ${email} has an account, a link is on its way there. It works once, for an hour.`);
      return;
    }
    const { data, error } = way === "password"
      ? await auth.signInWithPassword({ email, password })
      : await auth.signUp({ email, password, options: { emailRedirectTo: here } });
    if (error !== null) throw error;
    if (data.session === null) setSent(`A link to confirm ${email} is on its way there.`);
  });
  return (
    <main class="alone" id="main">
      <h1>Tunebase</h1>
      <p class="quiet">Fine-tune open models on your own data.</p>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          act.mutate();
        }}
      >
        <fieldset class="ways">
          <legend class="unseen">How</legend>
          {(Object.keys(labels) as Way[]).map((each) => (
            <label key={each}>
              <input type="radio" name="way" checked={way === each} onChange={() => setWay(each)} />{" "}
              {{ password: "Password", link: "E-mail link", new: "New here" }[each]}
            </label>
          ))}
        </fieldset>
        <Field label="E-mail">
          {(control) => (
            <input
              {...control}
              type="email"
              autocomplete="username"
              required
              value={email}
              onInput={(event) => setEmail(event.currentTarget.value)}
            />
          )}
        </Field>
        {way !== "link" && (
          <Field label="Password" hint={way === "new" ? "Six characters at the least." : undefined}>
            {(control) => (
              <input
                {...control}
                type="password"
                autocomplete={way === "new" ? "new-password" : "current-password"}
                required
                value={password}
                onInput={(event) => setPassword(event.currentTarget.value)}
              />
            )}
          </Field>
        )}
        {act.error && <p class="problem" role="alert">{act.error.message}</p>}
        {problem && !act.error && !sent && <p class="problem" role="alert">{problem}</p>}
        {sent && <p class="notice" role="status">{sent}</p>}
        <button type="submit" class="primary" disabled={act.isPending}>{labels[way]}</button>
      </form>
    </main>
  );
}
