// SPDX-License-Identifier: Apache-2.0

package confine

import "syscall"

// Class says who answers a system call inside a Keep.
type Class uint8

const (
	Shim    Class = iota // the shim itself; the host never learns of the call
	Forward              // the host, through the sallyport; the shim validates what comes back
	Fixed                // a constant: the program gets an answer, and nobody does any work
	Kernel               // issued by the Linux kernel and not by the program: exists in nil only
)

// An Answer is what a rule gives: the call itself, or a constant result. The
// zero Answer is the real call.
type Answer uint16

const (
	// Serve lets the call happen.
	Serve Answer = 0
	// Done answers 0 without doing anything.
	Done = Answer(1)
)

// fail answers e.
func fail(e syscall.Errno) Answer { return Answer(e) + 1 }

// Errno returns the constant that a answers; 0 is success. It has no meaning
// for Serve.
func (a Answer) Errno() syscall.Errno { return syscall.Errno(a - 1) }

// A Cond holds when argument Arg, taken as 64 bits and masked with Mask,
// equals Value. A mask that covers the low half only mirrors an argument that
// the kernel declares as int.
type Cond struct {
	Arg    int
	Mask   uint64
	Value  uint64
	OwnPID bool // Value is the number of the calling process
}

// A Rule gives Then when all its conditions hold.
type Rule struct {
	If   []Cond
	Then Answer
}

// A Call is one system call that a Keep serves. Rules are tried in order and
// the first that matches answers; Else answers when none does, so a Call
// without rules is served always, or never when Else is a constant.
type Call struct {
	Nr    uint32
	Name  string
	Class Class
	Rules []Rule
	Else  Answer
}

const (
	all = ^uint64(0)
	low = uint64(0xffffffff)
)

// is compares an int argument.
func is(arg int, value uint64) Cond { return Cond{Arg: arg, Mask: low, Value: value} }

// within holds when an int argument has no bit outside allowed.
func within(arg int, allowed uint64) Cond { return Cond{Arg: arg, Mask: low &^ allowed} }

// when is a rule with its conditions after its answer, which reads better in a table.
func when(then Answer, conds ...Cond) Rule { return Rule{If: conds, Then: then} }

// anyOf gives one rule per value of an int argument, each under the same
// further conditions.
func anyOf(then Answer, arg int, values []uint64, also ...Cond) []Rule {
	rules := make([]Rule, 0, len(values))
	for _, v := range values {
		rules = append(rules, Rule{If: append([]Cond{is(arg, v)}, also...), Then: then})
	}
	return rules
}
