// The official conformance suite against a server of pyro's.
//
//     node conformance.mjs REVISION EXPECTED-FAILURES|none SERVER...
//
// The suite cannot send a token, so somebody stands between who adds it to every request and changes
// nothing else.

import { spawn } from 'node:child_process';
import http from 'node:http';
import path from 'node:path';

import { serve } from './served.mjs';

const [revision, expected, ...server] = process.argv.slice(2);
const { child, url, token } = await serve(...server);

const between = http.createServer((request, response) => {
  const headers = [...request.rawHeaders, 'Authorization', `Bearer ${token}`];
  const { url: path, method } = request;
  const { hostname, port } = url;
  const onward = http.request({ hostname, port, path, method, headers, setHost: false });
  onward.on('response', (answer) => {
    response.writeHead(answer.statusCode, answer.statusMessage, answer.rawHeaders);
    response.flushHeaders();
    answer.pipe(response);
    answer.on('error', () => response.destroy());
  });
  onward.on('error', () => response.destroy());
  response.on('close', () => onward.destroy());
  request.pipe(onward);
});
await new Promise((resolve) => between.listen(0, '127.0.0.1', resolve));

const suite = path.join(import.meta.dirname, 'node_modules/@modelcontextprotocol/conformance/dist/index.js');
const words = [suite, 'server', '--url', `http://127.0.0.1:${between.address().port}/mcp`, '--requirements', revision];
if (expected !== 'none') words.push('--expected-failures', expected);
const running = spawn(process.execPath, words, { stdio: ['ignore', 'pipe', 'pipe'] });
let said = '';
running.stdout.on('data', (data) => (said += data));
running.stderr.on('data', (data) => (said += data));
const code = await new Promise((resolve) => running.on('close', resolve));
child.kill();
between.closeAllConnections();
between.close();

const plain = said.replaceAll(/\x1b\[[0-9;]*m/g, '');
const summary = plain.slice(plain.indexOf('=== SUMMARY ==='));
if (code !== 0) console.log(plain);
// Extensions and scenarios that came after the revision run as well, and are not required by it.
const [told, unscored = ''] = summary.split('\nNot scored');
const required = told.split('\n').filter((line) => /^[✓✗] /.test(line) && !unscored.includes(` ${line.slice(2).split(':')[0]} (`));
const passed = required.filter((line) => line.startsWith('✓')).length;
const name = path.basename(server[0]);
const counts = expected === 'none'
  ? `${passed} of ${required.length} required scenarios pass`
  : `${passed} scenarios pass; those that want fixtures are in ${path.basename(expected)}`;
console.log(`${code === 0 ? 'ok  ' : 'FAIL'} conformance ${revision} of ${name} (${counts})`);
process.exitCode = code === 0 ? 0 : 1;
