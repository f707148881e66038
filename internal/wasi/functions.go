// SPDX-License-Identifier: Apache-2.0

package wasi

// WebAssembly value types, as in Function's Params and Results.
const (
	ValueI32 byte = 0x7f
	ValueI64 byte = 0x7e
)

// Names of the modules that guests import.
const (
	Preview1 = "wasi_snapshot_preview1"
	Preview0 = "wasi_unstable"
)

// Function is one import of a guest.
type Function struct {
	Module, Name    string
	Params, Results []byte
	// Call runs the function: stack holds the arguments and then the results,
	// as an engine keeps them. Panics with Exit if the guest ends itself.
	Call func(h *Host, mem Memory, stack []uint64)
}

// handler is the code of a function whose result is an errno.
type handler func(h *Host, mem Memory, p []uint64) errno

// common lists the functions that are the same in both versions.
var common = []struct {
	name, params string // as types reads them
	call         handler
}{
	{"args_get", "ii", (*Host).argsGet},
	{"args_sizes_get", "ii", (*Host).argsSizesGet},
	{"environ_get", "ii", (*Host).environGet},
	{"environ_sizes_get", "ii", (*Host).environSizesGet},
	{"clock_res_get", "ii", (*Host).clockResGet},
	{"clock_time_get", "ili", (*Host).clockTimeGet},
	{"fd_advise", "illi", (*Host).fdAdvise},
	{"fd_allocate", "ill", (*Host).fdAllocate},
	{"fd_close", "i", (*Host).fdClose},
	{"fd_datasync", "i", (*Host).fdDatasync},
	{"fd_fdstat_get", "ii", (*Host).fdFdstatGet},
	{"fd_fdstat_set_flags", "ii", (*Host).fdFdstatSetFlags},
	{"fd_fdstat_set_rights", "ill", (*Host).fdFdstatSetRights},
	{"fd_filestat_set_size", "il", (*Host).fdFilestatSetSize},
	{"fd_filestat_set_times", "illi", (*Host).fdFilestatSetTimes},
	{"fd_pread", "iiili", (*Host).fdPread},
	{"fd_prestat_get", "ii", (*Host).fdPrestatGet},
	{"fd_prestat_dir_name", "iii", (*Host).fdPrestatDirName},
	{"fd_pwrite", "iiili", (*Host).fdPwrite},
	{"fd_read", "iiii", (*Host).fdRead},
	{"fd_readdir", "iiili", (*Host).fdReaddir},
	{"fd_renumber", "ii", (*Host).fdRenumber},
	{"fd_sync", "i", (*Host).fdSync},
	{"fd_tell", "ii", (*Host).fdTell},
	{"fd_write", "iiii", (*Host).fdWrite},
	{"path_create_directory", "iii", (*Host).pathCreateDirectory},
	{"path_filestat_set_times", "iiiilli", (*Host).pathFilestatSetTimes},
	{"path_link", "iiiiiii", (*Host).pathLink},
	{"path_open", "iiiiillii", (*Host).pathOpen},
	{"path_readlink", "iiiiii", (*Host).pathReadlink},
	{"path_remove_directory", "iii", (*Host).pathRemoveDirectory},
	{"path_rename", "iiiiii", (*Host).pathRename},
	{"path_symlink", "iiiii", (*Host).pathSymlink},
	{"path_unlink_file", "iii", (*Host).pathUnlinkFile},
	{"proc_raise", "i", (*Host).procRaise},
	{"sched_yield", "", (*Host).schedYield},
	{"random_get", "ii", (*Host).randomGet},
	{"sock_recv", "iiiiii", (*Host).sockRecv},
	{"sock_send", "iiiii", (*Host).sockSend},
	{"sock_shutdown", "ii", (*Host).sockShutdown},
}

// Functions returns every function of both modules: 46 of preview 1, and the 45
// of preview 0, which has no sock_accept.
func Functions() []Function {
	list := make([]Function, 0, 2*(len(common)+6))
	for _, m := range []struct {
		name string
		abi  *abi
	}{{Preview1, &preview1}, {Preview0, &preview0}} {
		for _, f := range common {
			list = append(list, function(m.name, f.name, f.params, f.call))
		}
		list = append(list, layoutFunctions(m.name, m.abi)...)
		list = append(list, Function{
			Module: m.name, Name: "proc_exit", Params: types("i"), Call: procExit,
		})
	}
	return append(list, function(Preview1, "sock_accept", "iii", (*Host).sockAccept))
}

// layoutFunctions lists those that depend on a version's layouts.
func layoutFunctions(module string, a *abi) []Function {
	return []Function{
		function(module, "fd_filestat_get", "ii", func(h *Host, mem Memory, p []uint64) errno {
			return h.fdFilestatGet(mem, p, a)
		}),
		function(module, "fd_seek", "ilii", func(h *Host, mem Memory, p []uint64) errno {
			return h.fdSeek(mem, p, a)
		}),
		function(module, "path_filestat_get", "iiiii", func(h *Host, mem Memory, p []uint64) errno {
			return h.pathFilestatGet(mem, p, a)
		}),
		function(module, "poll_oneoff", "iiii", func(h *Host, mem Memory, p []uint64) errno {
			return h.pollOneoff(mem, p, a)
		}),
	}
}

func function(module, name, params string, call handler) Function {
	return Function{
		Module: module, Name: name, Params: types(params), Results: types("i"),
		Call: func(h *Host, mem Memory, stack []uint64) { stack[0] = uint64(call(h, mem, stack)) },
	}
}

// types spells out value types: i is i32, l is i64.
func types(short string) []byte {
	list := make([]byte, len(short))
	for i, c := range []byte(short) {
		list[i] = ValueI32
		if c == 'l' {
			list[i] = ValueI64
		}
	}
	return list
}
