/** Reads what `perf script` prints: samples with their stacks, from the leaf outwards. */

const UNKNOWN = '[unknown]';

/** One sample's stack from the outermost frame to the leaf. */
export type Stack = readonly string[];

/**
 * A sample is a line that begins at the margin (`comm pid time: …`), lines `address symbol+offset (object)` from the leaf outwards, and
 * an empty line. The stacks begin with the name of the thread.
 */
export function parsePerfScript(text: string): Stack[] {
  const stacks: Stack[] = [];
  for (const block of text.split(/\n\s*\n/)) {
    const [head, ...frames] = block.split('\n').filter((line) => line.trim() !== '');
    if (head === undefined || frames.length === 0) continue;
    const thread = /^\s*(.*?)\s+-?\d+(?:\/-?\d+)?\s+(?:\[\d+\]\s+)?[\d.]+:/.exec(head)?.[1] ?? 'unknown';
    stacks.push([thread, ...withoutRepeatedUnknowns(frames.map(frameName).reverse())]);
  }
  return stacks;
}

/** Where frame pointers end in nothing, perf makes up a frame or many: one says as much. */
function withoutRepeatedUnknowns(frames: readonly string[]): string[] {
  return frames.filter((frame, index) => frame !== UNKNOWN || frames[index - 1] !== UNKNOWN);
}

/** `7f12 LazyCompile:*receive file:///x/dist/server.js:10:3+0x1c (/tmp/perf-12.map)` */
function frameName(line: string): string {
  const match = /^\s*[0-9a-f]+ (.*?)(?:\+0x[0-9a-f]+)? \(([^()]*(?:\([^()]*\)[^()]*)*)\)$/.exec(line);
  if (match === null) return line.trim();
  const [, symbol, object] = match;
  if (object.includes('kallsyms') || object === '[kernel]') return `${symbol}_[k]`;
  if (symbol !== '[unknown]') return javaScriptName(symbol) ?? withoutArguments(symbol);
  return object === UNKNOWN ? UNKNOWN : `[${object.split('/').at(-1)}]`;
}

/** Whether V8 compiled it: `*` optimised, `^` baseline, `~` interpreted. The file shows only its end. */
function javaScriptName(symbol: string): string | undefined {
  const match = /^(?:JS|LazyCompile|Function|Script|Eval|Builtin|RegExp|BytecodeHandler):([*^~]?)(.*)$/.exec(symbol);
  if (match === null) return undefined;
  const [, tier, rest] = match;
  const [, name, place] = /^(\S*)(?: (.*))?$/.exec(rest) ?? ['', rest, ''];
  const file = place?.match(/([^/]+\/[^/]+:\d+):\d+$/)?.[1];
  const kind = symbol.startsWith('Builtin') || symbol.startsWith('BytecodeHandler') ? ' [v8]' : '_[j]';
  return `${tier}${name || '(anonymous)'}${file === undefined ? '' : ` ${file}`}${kind}`;
}

/** C++ symbols without their argument lists: templates and arguments make them longer than any frame. */
function withoutArguments(symbol: string): string {
  let depth = 0;
  let name = '';
  for (const character of symbol
    .replace('(anonymous namespace)', '{anonymous}')
    .replaceAll('operator()', 'operator{}')) {
    if (character === '(' || character === '<') depth++;
    if (depth === 0) name += character;
    if ((character === ')' || character === '>') && depth > 0) depth--;
  }
  return name.replace(/\s+const$/, '').trim() || symbol;
}

export interface StackTree {
  readonly name: string;
  /** Samples in this frame and all it called. */
  samples: number;
  readonly children: Map<string, StackTree>;
}

export function foldStacks(stacks: readonly Stack[], name: string): StackTree {
  const tree: StackTree = { name, samples: stacks.length, children: new Map() };
  for (const stack of stacks) {
    let at = tree;
    for (const frame of stack) {
      let child = at.children.get(frame);
      if (child === undefined) at.children.set(frame, (child = { name: frame, samples: 0, children: new Map() }));
      child.samples++;
      at = child;
    }
  }
  return tree;
}

/** Where a sample was taken: kernel, JavaScript, V8 itself, the addon, other native code; by the leaf. */
export function shareByRoom(stacks: readonly Stack[]): Readonly<Record<string, number>> {
  const counts: Record<string, number> = {};
  for (const stack of stacks) {
    const room = roomOf(stack[stack.length - 1]);
    counts[room] = (counts[room] ?? 0) + 1;
  }
  const shares = Object.entries(counts).map(([room, count]) => [room, count / stacks.length] as const);
  return Object.fromEntries(shares.sort(([, a], [, b]) => b - a));
}

export function roomOf(frame: string): 'kernel' | 'JavaScript' | 'V8' | 'addon' | 'native' {
  if (frame.endsWith('_[k]')) return 'kernel';
  if (frame.endsWith('_[j]')) return 'JavaScript';
  if (frame.endsWith(' [v8]') || /^v8::|^Builtins_/.test(frame)) return 'V8';
  return /^ringway::|^\[ringway\.node\]/.test(frame) ? 'addon' : 'native';
}
