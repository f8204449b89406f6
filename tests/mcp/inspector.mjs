// The MCP inspector's command line lists and calls tools, over stdio and HTTP.
//
//     node inspector.mjs      PYRO_E2E_PYRO names the binary

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import path from 'node:path';
import { promisify } from 'node:util';

import { serve } from './served.mjs';

const PYRO = process.env.PYRO_E2E_PYRO;
const CORE_TOOLS = Number(process.env.PYRO_MCP_CORE_TOOLS);
const inspector = path.join(import.meta.dirname, 'node_modules/.bin/mcp-inspector');

async function inspect(...words) {
  const { stdout } = await promisify(execFile)(process.execPath, [inspector, '--cli', ...words]);
  return JSON.parse(stdout);
}

async function tell(name, target, ...more) {
  const listed = await inspect(...target, '--method', 'tools/list', ...more);
  assert.equal(listed.tools.length, CORE_TOOLS, name);
  const call = ['--method', 'tools/call', '--tool-name', 'vm_run', '--tool-arg', 'command=echo out'];
  const called = await inspect(...target, ...call, ...more);
  assert.equal(called.structuredContent.stdout, 'out\n', name);
  console.log(`ok   inspector over ${name}`);
}

await tell('stdio', [PYRO, 'mcp', 'serve']);
const { child, url, token } = await serve(PYRO, 'mcp', 'serve', '--http', '127.0.0.1:0');
try {
  await tell('http', [url.href], '--transport', 'http', '--header', `Authorization: Bearer ${token}`);
} finally {
  child.kill();
}
