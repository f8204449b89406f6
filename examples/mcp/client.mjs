// Use pyro from a program of yours with the official TypeScript SDK of MCP
// (`npm install @modelcontextprotocol/client`).
//
//     node client.mjs [PYRO]
//
// Starts a command that takes its time, does something else, and reads what it printed.

import { Client } from '@modelcontextprotocol/client';
import { StdioClientTransport } from '@modelcontextprotocol/client/stdio';

const [pyro = 'pyro'] = process.argv.slice(2);
const client = new Client({ name: 'example', version: '1' });
await client.connect(new StdioClientTransport({ command: pyro, args: ['mcp', 'serve'], env: process.env }));

async function call(name, args) {
  const result = await client.callTool({ name, arguments: args });
  // The text of an error has message, code and hints.
  if (result.isError) throw new Error(result.content[0].text);
  return result.structuredContent;
}

const { workspace_id } = await call('workspace_create', {});
try {
  const command = 'for i in 1 2 3; do echo step $i; sleep 1; done';
  const { exec_id } = await call('workspace_exec', { workspace_id, command, detach: true });
  const { execs } = await call('exec_list', { workspace_id });
  console.log('running:', execs.filter((exec) => exec.running).length);
  const ended = await call('exec_wait', { workspace_id, exec_id });
  console.log('exit code:', ended.exit_code);
  console.log(ended.stdout.trim());
} finally {
  await call('workspace_delete', { workspace_id });
  await client.close();
}
