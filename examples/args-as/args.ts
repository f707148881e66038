// SPDX-License-Identifier: Apache-2.0

// Prints Fibonacci numbers: arguments say which, the environment says how.

function fibonacci(n: i32): u64 {
  let a: u64 = 0, b: u64 = 1;
  for (let i = 0; i < n; i++) {
    const next = a + b;
    a = b;
    b = next;
  }
  return a;
}

const label = process.env.has("LABEL") ? process.env.get("LABEL") : "fib";
const args = process.argv;
if (args.length < 2) {
  process.stderr.write("usage: args-as N...\n");
  process.exit(2);
}
for (let i = 1; i < args.length; i++) {
  const n = <i32>parseInt(args[i]);
  if (n < 0 || n > 93) { // fibonacci(94) is more than 64 bits
    process.stderr.write("args-as: not between 0 and 93: " + args[i] + "\n");
    process.exit(1);
  }
  process.stdout.write(label + "(" + n.toString() + ") = " + fibonacci(n).toString() + "\n");
}
