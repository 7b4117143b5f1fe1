/** Tunebase's mark: a tuning fork on a base. `public/favicon.svg` is the same. */
export const Mark = () => (
  <svg class="mark" viewBox="0 0 24 24" aria-hidden="true">
    <rect width="24" height="24" rx="6" />
    <path d="M8 4.5v5a4 4 0 0 0 8 0v-5M12 13.5v5.5M7.5 19.2h9" />
  </svg>
);
