/** The whole of it in one process: two backends, a gateway in front of them, a client. `node dist-tools/examples/quickstart.js` */
import { connectClient, createEngine, createGateway, loadConfig, serve } from 'ringway';

// A backend in a process of its own adds `handleSignals: true`: SIGTERM then finishes what is in flight. Here `drain` below does.
const shout = (name: string) =>
  serve({ port: 0 }, { handle: (task) => `${name}: ${task.payload.toString().toUpperCase()}` });
const backends = await Promise.all([shout('one'), shout('two')]);

const engine = createEngine();
const config = loadConfig(`
listeners: [{ port: 0, protocol: rmp }]
pools: { shout: { servers: [${backends.map(({ port }) => `{ address: "127.0.0.1:${port}" }`)}] } }
routes: [{ route: 0, pool: shout }]
`);
const gateway = createGateway(config, { engine });
await gateway.start();

const { address } = gateway.addresses[0];
const client = connectClient(`rmp://127.0.0.1:${'port' in address ? address.port : 0}`);
const answers = await Promise.all(['hello', 'gateway', 'bye'].map((text) => client.request(text)));
for (const answer of answers) console.log(answer.toString());

await client.close();
await gateway.drain();
await Promise.all([engine.close(), ...backends.map((backend) => backend.drain())]);
