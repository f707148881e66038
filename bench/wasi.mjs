// SPDX-License-Identifier: Apache-2.0
// node wasi.mjs FILE.wasm ARGS...: runs a WASI preview 1 program with Node's own
// WASI and nothing but standard input and output.

import { readFile } from 'node:fs/promises'
import { WASI } from 'node:wasi'

const [, , file, ...args] = process.argv
const wasi = new WASI({ version: 'preview1', args: [file, ...args], env: {} })
const module = await WebAssembly.compile(await readFile(file))
wasi.start(await WebAssembly.instantiate(module, wasi.getImportObject()))
