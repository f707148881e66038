// SPDX-License-Identifier: Apache-2.0

package keep

import (
	"fmt"
	"runtime"
	"testing"

	"enarx.dev/enarx/internal/need"
	"enarx.dev/enarx/internal/sallyport"
)

// BenchmarkExit is one request that the host refuses, with some work of the
// guest's between two of them: what an exit costs, and what it costs when
// several vCPUs want the Go scheduler at once. See Procs.
func BenchmarkExit(b *testing.B) {
	need.KVM(b)
	for _, procs := range []int{1, Procs()} {
		for _, cpus := range []int{1, 2, 4, 8} {
			b.Run(fmt.Sprintf("procs=%d/vcpus=%d", procs, cpus), func(b *testing.B) {
				defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(procs))
				const rounds = 20
				var body []line
				for range rounds {
					body = append(body, line{opBusy, 20_000}, line{opCall, sallyport.MaxNr})
				}
				body = append(body, line{opAdd, testWords + 8, 1})
				var first []line
				for range cpus - 1 {
					first = append(first, line{opCall, sallyport.OpSpawn})
				}
				first = append(first, line{opWait, testWords, uint64(cpus - 1)})
				scripts := [][]line{append(append(first, body...), line{opWait, testWords + 8, uint64(cpus)}, line{opCall, sallyport.OpExit})}
				for range cpus - 1 {
					scripts = append(scripts, append([]line{{opAdd, testWords, 1}}, append(body, line{opCall, sallyport.OpPark, 0, sallyport.Forever})...))
				}
				for b.Loop() {
					b.StopTimer()
					k, err := Start(b.Context(), guestConfig(scripts...))
					if err != nil {
						b.Fatal(err)
					}
					b.StartTimer()
					<-k.stop
					b.StopTimer()
					k.Wait()
					b.StartTimer()
				}
				b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/rounds/float64(cpus), "µs/exit")
			})
		}
	}
}

// BenchmarkStart is the making and the end of a Keep that does nothing.
func BenchmarkStart(b *testing.B) {
	need.KVM(b)
	for b.Loop() {
		k, err := Start(b.Context(), guestConfig([]line{{opCall, sallyport.OpExit}}))
		if err != nil {
			b.Fatal(err)
		}
		k.Wait()
	}
}
