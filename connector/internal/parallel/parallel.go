// Package parallel does one piece of work on all cores.
package parallel

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
)

// Each calls work for 0 to n-1, on as many goroutines as there are cores, the caller's among them, and returns the first error
// in the order of i. After an error the calls that have not begun are left out. A panic of one call becomes one of Each, with the stack of the
// first: a caller that recovers from panics recovers from these too.
func Each(n int, work func(i int) error) error {
	var (
		next   atomic.Int64
		failed atomic.Bool
		group  sync.WaitGroup
		errs   = make([]error, n)
		panics = make(chan any, n)
	)
	call := func(i int) {
		defer func() {
			if p := recover(); p != nil {
				failed.Store(true)
				panics <- fmt.Sprintf("%v\n\n%s", p, debug.Stack())
			}
		}()
		if errs[i] = work(i); errs[i] != nil {
			failed.Store(true)
		}
	}
	loop := func() {
		for i := int(next.Add(1)) - 1; i < n && !failed.Load(); i = int(next.Add(1)) - 1 {
			call(i)
		}
	}
	for range min(n, runtime.GOMAXPROCS(0)) - 1 {
		group.Go(loop)
	}
	loop()
	group.Wait()
	select {
	case p := <-panics:
		panic(p)
	default:
	}
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
