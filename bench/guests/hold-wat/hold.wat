;; SPDX-License-Identifier: Apache-2.0

;; Says that it is there, and stays until its standard input ends, so that the
;; processes around it can be looked at while they are at rest.
(module
  (import "wasi_snapshot_preview1" "fd_write"
    (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_read"
    (func $fd_read (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)

  ;; At 0 the text's address and length, at 8 the same of an input buffer.
  (data (i32.const 0) "\20\00\00\00\06\00\00\00\40\00\00\00\40\00\00\00")
  (data (i32.const 32) "ready\n")

  (func (export "_start")
    (if (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 16))
      (then unreachable))
    (loop $again
      (if (call $fd_read (i32.const 0) (i32.const 8) (i32.const 1) (i32.const 16))
        (then unreachable))
      (br_if $again (i32.load (i32.const 16))))))
