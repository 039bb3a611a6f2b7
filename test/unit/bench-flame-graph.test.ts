import { describe, expect, test } from 'vitest';
import { drawFlameGraph } from '../../bench/flame-graph.js';
import { foldStacks, parsePerfScript, roomOf, shareByRoom } from '../../bench/perf-script.js';

const SCRIPT = `node 11191 11089.998207:
	ffffffff8168a133 tcp_sendmsg+0x13 ([kernel.kallsyms])
	          98109 __send+0xda9 (/usr/lib/x86_64-linux-gnu/libc.so.6)
	          12345 ringway::Connection::Flush(ringway::Driver&, std::vector<int> const&)+0x1 (/x/Release/ringway.node)
	          55555 JS:*receive file:///x/dist/server.js:10:3+0x1c (/tmp/perf-11191.map)

node 11191/11192 11090.003231:
	          55555 LazyCompile:~ file:///x/dist/gateway/relay.js:7:30+0x1c (/tmp/perf-11191.map)

DelayedTaskSche 11191 [001] 11090.1:
	          8f0cf [unknown] (/usr/bin/node)
	          66666 v8::internal::Heap::Scavenge()+0x1 (/usr/bin/node)
	          77777 Builtin:CallFunction+0x1 (/tmp/perf-11191.map)
	               0 [unknown] ([unknown])
	               7 [unknown] ([unknown])

`;

describe('perf script', () => {
  test('stacks from the outermost frame to the leaf', () => {
    expect(parsePerfScript(SCRIPT)).toEqual([
      ['node', '*receive dist/server.js:10_[j]', 'ringway::Connection::Flush', '__send', 'tcp_sendmsg_[k]'],
      ['node', '~(anonymous) gateway/relay.js:7_[j]'],
      ['DelayedTaskSche', '[unknown]', 'CallFunction [v8]', 'v8::internal::Heap::Scavenge', '[node]'],
    ]);
    expect(parsePerfScript('')).toEqual([]);
  });

  test('where a sample was taken is told by its leaf', () => {
    expect(shareByRoom(parsePerfScript(SCRIPT))).toEqual({ kernel: 1 / 3, JavaScript: 1 / 3, native: 1 / 3 });
    expect(roomOf('ringway::Reactor::Tick')).toBe('addon');
    expect(roomOf('CallFunction [v8]')).toBe('V8');
  });
});

describe('the flame graph', () => {
  const tree = foldStacks(
    [
      ['node', 'a', 'b'],
      ['node', 'a', 'c'],
      ['node', '<d>'],
      ['node', 'a'],
    ],
    'all',
  );

  test('folds stacks with the same beginning', () => {
    const node = tree.children.get('node')!;
    expect([
      tree.samples,
      node.samples,
      node.children.get('a')?.samples,
      node.children.get('a')?.children.size,
    ]).toEqual([4, 4, 3, 2]);
  });

  test('draws each frame as wide as its share, and escapes names', () => {
    const svg = drawFlameGraph(tree, 'a & b');
    const widths = [...svg.matchAll(/<title>(.*?): (\d) samples?.*?<\/title><rect [^>]*? width="([\d.]+)"/g)].map(
      ([, name, samples, width]) => [name, Number(samples), Math.round(Number(width))],
    );
    expect(widths).toEqual([
      ['all', 4, 1180],
      ['node', 4, 1180],
      ['&lt;d&gt;', 1, 295],
      ['a', 3, 885],
      ['b', 1, 295],
      ['c', 1, 295],
    ]);
    expect(svg).toContain('a &amp; b');
  });
});
