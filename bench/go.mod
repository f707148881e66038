module enarx.dev/enarx/bench

go 1.26
