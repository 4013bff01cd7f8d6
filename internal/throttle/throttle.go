// Package throttle limits how often each of many callers may do something.
package throttle

import (
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// maxKeys bounds the memory of a limiter. Beyond it callers with a full bucket are forgotten, then any.
const maxKeys = 16384

// Limiter has one token bucket per key. It is safe for concurrent use. The nil Limiter allows everything.
type Limiter struct {
	rate  rate.Limit
	burst int
	now   func() time.Time

	mu      sync.Mutex
	buckets map[string]*rate.Limiter
}

// New returns a limiter of perSecond events per key with bursts. A perSecond that is not positive gives nil, which
// allows everything.
func New(perSecond float64, burst int) *Limiter {
	if perSecond <= 0 {
		return nil
	}
	return &Limiter{rate: rate.Limit(perSecond), burst: max(burst, 1), now: time.Now, buckets: make(map[string]*rate.Limiter)}
}

// Allow takes a token of key's bucket and reports whether there was one.
func (l *Limiter) Allow(key string) bool {
	if l == nil {
		return true
	}
	now := l.now()
	return l.bucket(key, now).AllowN(now, 1)
}

// Spent reports whether key's bucket is empty, without taking a token.
func (l *Limiter) Spent(key string) bool {
	if l == nil {
		return false
	}
	now := l.now()
	return l.bucket(key, now).TokensAt(now) < 1
}

func (l *Limiter) bucket(key string, now time.Time) *rate.Limiter {
	l.mu.Lock()
	defer l.mu.Unlock()
	b, ok := l.buckets[key]
	if !ok {
		l.makeRoom(now)
		b = rate.NewLimiter(l.rate, l.burst)
		l.buckets[key] = b
	}
	return b
}

// makeRoom forgets the buckets that are full again, and if that is not enough any until half are left.
func (l *Limiter) makeRoom(now time.Time) {
	if len(l.buckets) < maxKeys {
		return
	}
	for key, b := range l.buckets {
		if b.TokensAt(now) >= float64(l.burst) {
			delete(l.buckets, key)
		}
	}
	if len(l.buckets) < maxKeys {
		return
	}
	for key := range l.buckets {
		if delete(l.buckets, key); len(l.buckets) <= maxKeys/2 {
			return
		}
	}
}
