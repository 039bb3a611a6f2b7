// The way of a request through the gateway and back, on the fake engine.
import { describe, expect, test } from 'vitest';
import { Status } from '../../src/engine/tables.gen.js';
import { Flag, Kind } from '../../src/protocol/rmp.js';
import { GatewayWorld, takeFrames } from '../support/gateway-world.js';

describe('relay', () => {
  test('a request reaches the backend under a link-local id and its answer the client under its own', async () => {
    const world = await GatewayWorld.start();
    const client = world.client();
    world.send(client, { id: 0xfedcba98, route: 0, payload: 'hello' });
    const [request] = world.requests();
    expect(request.frame).toMatchObject({ route: 0, flags: 0 });
    expect(request.frame.payload.toString()).toBe('hello');
    expect(request.frame.id).not.toBe(0xfedcba98);
    world.send(request.peer, { kind: Kind.response, id: request.frame.id, payload: 'world' });
    const [answer] = takeFrames(client);
    expect(answer).toMatchObject({ kind: Kind.response, id: 0xfedcba98, arg: Status.OK, flags: 0 });
    expect(answer.payload.toString()).toBe('world');
    expect(world.stats).toMatchObject({ received: 1, open: 0, outcomes: { answered: 1 } });
  });

  test('the backend is told what remains of the budget, never 0', async () => {
    const world = await GatewayWorld.start({ down: true });
    const client = world.client();
    world.send(client, { id: 1, arg: 300 }, { id: 2 });
    world.server().down = false;
    world.engine.advance(250);
    const budgets = world.requests().map(({ frame }) => frame.arg);
    expect(budgets[0]).toBeGreaterThan(0);
    expect(budgets[0]).toBeLessThan(300);
    expect(budgets[1]).toBeGreaterThan(9_000);
  });

  test('undefined flags are dropped, known ones passed on', async () => {
    const world = await GatewayWorld.start();
    world.send(world.client(), { id: 1, flags: Flag.idempotent | 0x70 | Flag.more | Flag.notExecuted });
    expect(world.requests()[0].frame.flags).toBe(Flag.idempotent);
  });
});
