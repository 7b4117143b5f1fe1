/** The app: the sign-in form, or the frame with the current page. */
import type { Session } from "@supabase/auth-js";
import { onlineManager, QueryClientProvider } from "@tanstack/preact-query";
import { useEffect, useState } from "preact/hooks";
import { SignIn } from "../features/sign_in/sign_in.tsx";
import { getServices, hasLeft, queryClient } from "../lib/services.ts";
import { clearSession } from "../lib/session_store.ts";
import { Frame } from "./frame.tsx";

export function App({ initialSession, linkError }: {
  initialSession: Session | null;
  /** Why a magic link failed. */
  linkError: string | null;
}) {
  const [session, setSession] = useState(initialSession);
  const [isExpired, setIsExpired] = useState(false);
  useEffect(() => {
    const { data } = getServices().auth.onAuthStateChange((event, session) => {
      if (event === "SIGNED_OUT") {
        queryClient.clear();
        setIsExpired(!hasLeft());
      }
      setSession(session);
    });
    return () => data.subscription.unsubscribe();
  }, []);
  // After the page's own effects: a page that is left stores its state.
  useEffect(() => {
    if (session === null) clearSession();
  }, [session === null]);
  return (
    <QueryClientProvider client={queryClient}>
      <OfflineBanner />
      {session === null
        ? <SignIn linkError={linkError} isExpired={isExpired} />
        : <Frame key={session.user.id} session={session} />}
    </QueryClientProvider>
  );
}

function OfflineBanner() {
  const [isOnline, setIsOnline] = useState(onlineManager.isOnline());
  useEffect(() => onlineManager.subscribe(setIsOnline), []);
  return isOnline ? null : (
    <p class="strip warn" role="status">
      You're offline. Data may be out of date and will refresh when you reconnect.
    </p>
  );
}
