/** How many reactor threads `reactors: 'auto'` means. */
export function defaultReactors(): number {
  return 0;
}
