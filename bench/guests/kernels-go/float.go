// SPDX-License-Identifier: Apache-2.0

package main

import "math"

// Each product is converted to float64 before it is added: the language forbids
// to fuse across a conversion, and a fused operation would round differently on
// processors that have one.

func gemm() uint64 {
	const n = 256
	a, b, c := make([]float64, n*n), make([]float64, n*n), make([]float64, n*n)
	seed := uint64(2)
	for i := range a {
		a[i] = real(&seed)
		b[i] = real(&seed)
	}
	for i := range n {
		row := c[i*n : i*n+n]
		for k := range n {
			f := a[i*n+k]
			other := b[k*n : k*n+n]
			for j := range row {
				row[j] += float64(f * other[j])
			}
		}
	}
	return foldFloats(0, c)
}

func jacobi() uint64 {
	const n, steps = 500, 40
	now := make([]float64, n*n)
	seed := uint64(3)
	for i := range now {
		now[i] = real(&seed)
	}
	next := append([]float64(nil), now...)
	for range steps {
		for y := 1; y < n-1; y++ {
			up, row, down := now[(y-1)*n:y*n], now[y*n:(y+1)*n], now[(y+1)*n:(y+2)*n]
			out := next[y*n : (y+1)*n]
			for x := 1; x < n-1; x++ {
				out[x] = 0.2 * (row[x] + row[x-1] + row[x+1] + up[x] + down[x])
			}
		}
		now, next = next, now
	}
	return foldFloats(0, now)
}

type body struct {
	at, speed [3]float64
	mass      float64
}

func advance(bodies []body, dt float64) {
	for i := range bodies {
		a := &bodies[i]
		for j := i + 1; j < len(bodies); j++ {
			b := &bodies[j]
			x, y, z := a.at[0]-b.at[0], a.at[1]-b.at[1], a.at[2]-b.at[2]
			square := float64(x*x) + float64(y*y) + float64(z*z) + 0.01
			pull := dt / (square * math.Sqrt(square))
			fa, fb := b.mass*pull, a.mass*pull
			a.speed[0] -= float64(x * fa)
			a.speed[1] -= float64(y * fa)
			a.speed[2] -= float64(z * fa)
			b.speed[0] += float64(x * fb)
			b.speed[1] += float64(y * fb)
			b.speed[2] += float64(z * fb)
		}
	}
	for i := range bodies {
		for d := range 3 {
			bodies[i].at[d] += float64(dt * bodies[i].speed[d])
		}
	}
}

func nbody() uint64 {
	const steps = 150000
	bodies := make([]body, 5)
	seed := uint64(4)
	for i := range bodies {
		for d := range 3 {
			bodies[i].at[d] = real(&seed)
			bodies[i].speed[d] = real(&seed)
		}
		bodies[i].mass = 1.5 + real(&seed)
	}
	for range steps {
		advance(bodies, 0.001)
	}
	sum := uint64(0)
	for i := range bodies {
		sum = foldFloats(sum, bodies[i].at[:])
	}
	return sum
}

func mandel() uint64 {
	const width, height, limit = 480, 320, 200
	sum := uint64(0)
	for y := range height {
		for x := range width {
			cr, ci := 3.0*float64(x)/width-2.0, 2.0*float64(y)/height-1.0
			var zr, zi, rr, ii float64
			n := 0
			for ; n < limit && rr+ii <= 4.0; n++ {
				zi = float64(2.0*zr*zi) + ci
				zr = rr - ii + cr
				rr = float64(zr * zr)
				ii = float64(zi * zi)
			}
			sum = fold(sum, uint64(n))
		}
	}
	return sum
}
