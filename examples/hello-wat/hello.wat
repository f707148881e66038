;; SPDX-License-Identifier: Apache-2.0

;; The smallest useful program: one call of the host, no library, no allocator.
(module
  (import "wasi_snapshot_preview1" "fd_write"
    (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)

  ;; One iovec at address 0: the text's address and length.
  (data (i32.const 0) "\08\00\00\00\23\00\00\00")
  (data (i32.const 8) "Hello from WebAssembly text format\n")

  (func (export "_start")
    ;; fd_write(stdout, iovs = 0, one iovec, count written to 64)
    (if (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 64))
      (then unreachable))))
