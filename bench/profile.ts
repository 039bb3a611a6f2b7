/** `--profile CASE`: one server under the load of one case, sampled by perf; a flame graph of its native and JavaScript frames. */
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import type { Bench } from './bench.js';
import { drawFlameGraph } from './flame-graph.js';
import type { Target } from './load.js';
import { UsageError } from './options.js';
import { foldStacks, parsePerfScript, shareByRoom, type Stack } from './perf-script.js';
import { findCase, subjectNameFor } from './plan.js';
import type { ProcessGroup } from './process-group.js';
import { root } from './root.js';
import { ROUTES, Unavailable } from './servers.js';
import { describeShape, type Shape } from './shape.js';
import { describeSubject, SubjectPool } from './subjects.js';

const WARM_UP_SECONDS = 2.5;
const SAMPLED_SECONDS = 3;
const HERTZ = 997;

export async function profileCase(bench: Bench, group: ProcessGroup): Promise<number> {
  const one = findCase(bench.options.of!);
  const name = subjectNameFor(one, bench.options);
  // perf finds JavaScript frames by the map that V8 writes; interpreted ones only where each has a stub of its own.
  const nodeFlags = ['--perf-basic-prof', '--interpreted-frames-native-stack'];
  const pool = new SubjectPool(bench, one.room, new Set([one.behind]), bench.servers.launching({ nodeFlags }));
  const data = join(tmpdir(), `ringway-bench-${process.pid}.perf`);
  let pid = 0;
  try {
    const subject = await pool.get(name);
    if (subject === undefined) return 1;
    pid = subject.server.process.pid;
    const label = `${describeSubject(one.room, name)}, ${describeShape(one.shape)}`;
    bench.say(`${one.name}, ${label}: ${SAMPLED_SECONDS} s of samples`);
    const stacks = await sample(bench, group, { ...subject.target, route: ROUTES[one.behind] }, one.shape, pid, data);
    const file = join(root, 'bench', 'results', `profile-${one.name}-${name.replace(/[/:]/g, '-')}.svg`);
    mkdirSync(join(root, 'bench', 'results'), { recursive: true });
    writeFileSync(file, drawFlameGraph(foldStacks(stacks, 'all'), `${label}: ${stacks.length} samples`));
    const shares = Object.entries(shareByRoom(stacks)).map(([room, share]) => `${room} ${(100 * share).toFixed(1)} %`);
    process.stdout.write(`${label}: ${shares.join(', ')}\nwritten: ${relative(root, file)}\n`);
    return 0;
  } finally {
    await pool.stop();
    rmSync(data, { force: true });
    rmSync(join(tmpdir(), `perf-${pid}.map`), { force: true });
  }
}

async function sample(
  bench: Bench,
  group: ProcessGroup,
  target: Target,
  shape: Shape,
  pid: number,
  data: string,
): Promise<Stack[]> {
  const times = { seconds: SAMPLED_SECONDS + 1, warmupSeconds: WARM_UP_SECONDS };
  const { sample: load } = bench.load.begin(target, shape, times);
  load.catch(() => {});
  await new Promise((resolve) => setTimeout(resolve, (WARM_UP_SECONDS + 0.2) * 1000));
  const args = [
    'record',
    '-q',
    '-F',
    String(HERTZ),
    '-g',
    '-p',
    String(pid),
    '-o',
    data,
    '--',
    'sleep',
    String(SAMPLED_SECONDS),
  ];
  await finished(group, args);
  await load;
  const script = await finished(group, ['script', '-i', data, '-F', 'comm,pid,tid,time,ip,sym,symoff,dso']);
  const stacks = parsePerfScript(script);
  if (stacks.length === 0) throw new Error('perf took no sample: is the server idle in this case?');
  return stacks;
}

async function finished(group: ProcessGroup, args: readonly string[]): Promise<string> {
  const running = group.start('perf', 'perf', args);
  const { status } = await running.ended;
  if (/ENOENT/.test(running.stderr)) throw new UsageError('--profile needs perf: apt-get install linux-perf');
  if (status !== 0) throw new Unavailable(`perf ${args[0]}: ${running.stderr}`);
  return running.stdout;
}
