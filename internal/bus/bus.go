package bus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	typev1 "github.com/lume-data/lume/gen/lume/type/v1"
)

const (
	// callTimeout bounds one request to the server.
	callTimeout = 5 * time.Second
	// firstTimeout is how long Connect waits for the first connection.
	firstTimeout = 5 * time.Second
	// checkEvery is how often a bus asks whether its streams are well.
	checkEvery = 10 * time.Second
	// stuckChecks is in how many checks in a row messages may wait beside idle workers.
	stuckChecks = 3
)

// Bus is a connection to NATS. It is safe for concurrent use.
type Bus struct {
	cfg  Config
	log  *slog.Logger
	conn *nats.Conn
	js   jetstream.JetStream

	stop   context.CancelFunc
	keeper sync.WaitGroup
	every  time.Duration
	// kick asks the keeper to look now.
	kick chan struct{}

	mu sync.Mutex
	// err is why the bus is not healthy; nil if it is.
	err error
	// epoch ends when subscriptions must be made again.
	epoch    context.Context
	endEpoch context.CancelFunc
	// consuming counts idle and all slots by stage.
	consuming map[typev1.Stage]*consuming
}

// Connect opens a bus. A configuration that can never work is an error at once, and so are streams that exist in an
// incompatible shape; a server that does not answer yet is not: the bus goes on trying, and Health says so.
func Connect(ctx context.Context, cfg Config) (*Bus, error) {
	return connectBus(ctx, cfg, checkEvery)
}

func connectBus(ctx context.Context, cfg Config, every time.Duration) (*Bus, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Name == "" {
		cfg.Name = "lume"
	}
	opts, err := cfg.options()
	if err != nil {
		return nil, err
	}
	b := &Bus{
		cfg: cfg, log: cfg.Log, kick: make(chan struct{}, 1), err: errors.New("NATS is not connected yet"),
		consuming: make(map[typev1.Stage]*consuming), every: every,
	}
	b.epoch, b.endEpoch = context.WithCancel(context.Background())
	connected := make(chan struct{}, 1)
	up := func(*nats.Conn) {
		b.look()
		select {
		case connected <- struct{}{}:
		default:
		}
	}
	opts = append(opts,
		nats.RetryOnFailedConnect(true), nats.MaxReconnects(-1), nats.IgnoreAuthErrorAbort(),
		nats.ReconnectWait(100*time.Millisecond), nats.ReconnectJitter(100*time.Millisecond, time.Second),
		nats.ReconnectBufSize(-1), // A publish while disconnected fails, and its outbox row stays.
		nats.PingInterval(20*time.Second), nats.MaxPingsOutstanding(2), nats.Timeout(callTimeout),
		nats.ConnectHandler(up),
		nats.ReconnectHandler(func(c *nats.Conn) { b.log.Info("NATS is connected again"); up(c) }),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			b.setHealth(errors.New("NATS is not connected"))
			if err != nil {
				b.log.Warn("NATS connection was lost", "cause", err)
			}
		}),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { b.log.Warn("NATS reports an error", "cause", err) }),
	)
	if b.conn, err = nats.Connect(cfg.URL, opts...); err != nil {
		b.endEpoch()
		return nil, fmt.Errorf("connect to NATS: %w", err)
	}
	if b.js, err = jetstream.New(b.conn, jetstream.WithDefaultTimeout(callTimeout)); err != nil {
		b.conn.Close()
		b.endEpoch()
		return nil, fmt.Errorf("connect to NATS: %w", err)
	}
	select {
	case <-connected:
		if err = b.setup(ctx); err != nil && !passing(err) {
			b.conn.Close()
			b.endEpoch()
			return nil, err
		}
		b.setHealth(err)
		<-b.kick // Of this connection.
	case <-time.After(firstTimeout):
		b.log.Warn("NATS does not answer; trying on")
	case <-ctx.Done():
		b.conn.Close()
		b.endEpoch()
		return nil, context.Cause(ctx)
	}
	run, stop := context.WithCancel(context.WithoutCancel(ctx))
	b.stop = stop
	b.keeper.Go(func() { b.keep(run) })
	return b, nil
}

// The server's codes for streams and consumers that stand in the way: of another shape, or with our subjects.
const (
	codeStreamInvalidConfig   = 10052
	codeStreamSubjectOverlap  = 10065
	codeStreamUpdate          = 10069
	codeConsumerUpdate        = 10012
	codeConsumerFilterOverlap = 10100
	codeConsumerExists        = 10148
)

// passing reports whether a failed set-up can succeed later without a change.
func passing(err error) bool {
	var api *jetstream.APIError
	if !errors.As(err, &api) {
		return true
	}
	switch api.ErrorCode {
	case codeStreamInvalidConfig, codeStreamSubjectOverlap, codeStreamUpdate, codeConsumerUpdate, codeConsumerFilterOverlap, codeConsumerExists:
		return false
	}
	return true
}

// Close ends the connection. End what consumes and watches before.
func (b *Bus) Close() {
	b.stop()
	b.keeper.Wait()
	b.mu.Lock()
	b.endEpoch()
	b.mu.Unlock()
	_ = b.conn.FlushTimeout(time.Second)
	b.conn.Close()
}

// Health returns nil if messages flow, or why they do not.
func (b *Bus) Health() error {
	if b.cfg.Embedded != nil {
		if err := b.cfg.Embedded.Health(); err != nil {
			return err
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.err
}

func (b *Bus) setHealth(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.err = err
}

// look asks the keeper for a check.
func (b *Bus) look() {
	select {
	case b.kick <- struct{}{}:
	default:
	}
}

// keep makes lost streams and consumers again, and watches over the health, until ctx ends.
func (b *Bus) keep(ctx context.Context) {
	stuck := make(map[typev1.Stage]int)
	pause := b.every
	for {
		kicked := false
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-b.kick:
			timer.Stop()
			kicked = true
		case <-timer.C:
		}
		err := b.check(ctx, kicked, stuck)
		if ctx.Err() != nil {
			return
		}
		pause = b.every
		if err != nil {
			pause = min(b.every, time.Second)
			b.log.Warn("NATS is not well", "cause", err)
		}
		b.setHealth(err)
	}
}

// check sets up what is missing. After a reconnect everything is looked at, since the server may be another one.
func (b *Bus) check(ctx context.Context, reconnected bool, stuck map[typev1.Stage]int) error {
	if !b.conn.IsConnected() {
		return errors.New("NATS is not connected")
	}
	missing := b.Health() != nil || reconnected
	if !missing {
		var err error
		if missing, err = b.missing(ctx); err != nil {
			return err
		}
	}
	if missing {
		if err := b.setup(ctx); err != nil {
			return err
		}
		b.nextEpoch()
	}
	return b.unstick(ctx, stuck)
}

// missing reports whether a stream or consumer is gone.
func (b *Bus) missing(ctx context.Context) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if !b.cfg.NoSetup {
		if _, err := b.js.Stream(ctx, RunsStream); err != nil {
			return gone(err)
		}
	}
	for _, stage := range b.consumedStages() {
		if _, err := b.js.Consumer(ctx, StagesStream, StageName(stage)); err != nil {
			return gone(err)
		}
	}
	return false, nil
}

func gone(err error) (bool, error) {
	if errors.Is(err, jetstream.ErrStreamNotFound) || errors.Is(err, jetstream.ErrConsumerNotFound) {
		return true, nil
	}
	return false, err
}

// unstick replaces a consumer that holds messages back although workers wait for them.
func (b *Bus) unstick(ctx context.Context, stuck map[typev1.Stage]int) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	for _, stage := range b.consumedStages() {
		idle := b.idleSince(stage)
		c, err := b.js.Consumer(ctx, StagesStream, StageName(stage))
		if err != nil {
			return err
		}
		info := c.CachedInfo()
		if info.NumPending == 0 || info.NumAckPending >= maxAckPending || idle < b.every {
			stuck[stage] = 0
			continue
		}
		if stuck[stage]++; stuck[stage] < stuckChecks {
			continue
		}
		stuck[stage] = 0
		b.log.Warn("a NATS consumer holds messages back; making it again", "stage", StageName(stage), "pending", info.NumPending)
		if !b.cfg.NoSetup {
			if err := b.js.DeleteConsumer(ctx, StagesStream, StageName(stage)); err != nil {
				return err
			}
			if err := b.setup(ctx); err != nil {
				return err
			}
		}
		b.nextEpoch()
	}
	return nil
}

// nextEpoch makes all subscriptions begin again.
func (b *Bus) nextEpoch() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.endEpoch()
	b.epoch, b.endEpoch = context.WithCancel(context.Background())
}

func (b *Bus) currentEpoch() context.Context {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.epoch
}
