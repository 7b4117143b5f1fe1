/** A page's heading and content. */
import type { ComponentChildren } from "preact";
import { useEffect, useRef } from "preact/hooks";

/** Sets the document's title and focuses the heading, so that a screen reader announces the new page. */
export function Page(
  props: {
    title: string;
    actions?: ComponentChildren;
    children: ComponentChildren;
  },
) {
  const heading = useRef<HTMLHeadingElement>(null);
  useEffect(() => {
    document.title = `${props.title} · Tunebase`;
  }, [props.title]);
  useEffect(() => heading.current?.focus({ preventScroll: true }), []);
  return (
    <main id="main">
      <header class="page-head">
        <h1 ref={heading} tabIndex={-1}>{props.title}</h1>
        {props.actions && <div class="actions">{props.actions}</div>}
      </header>
      {props.children}
    </main>
  );
}
