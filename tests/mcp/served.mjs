// A server over HTTP that a test started: where it listens, and with which token.

import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';

// Starts it, and waits until it says where it listens.
export async function serve(command, ...words) {
  const child = spawn(command, words, { stdio: ['ignore', 'ignore', 'pipe'] });
  const said = [];
  for await (const line of createInterface({ input: child.stderr })) {
    said.push(line);
    if (line.startsWith('Authorization: Bearer ')) break;
  }
  if (said.length < 2) throw new Error(`${command} did not start: ${said.join('\n')}`);
  child.stderr.resume();
  const [address, authorization] = said.slice(-2);
  return { child, url: new URL(address.split(' ').at(-1)), token: authorization.split(' ').at(-1) };
}
