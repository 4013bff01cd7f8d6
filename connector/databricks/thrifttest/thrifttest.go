// Package thrifttest is a Databricks SQL service in a test's own process: the test says what each statement answers, and
// what goes wrong on the way. Results are Arrow batches, as those of a warehouse are.
package thrifttest

import (
	"bytes"
	"encoding/binary"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/lume-data/lume/connector/databricks/thrifttest/thriftwire"
)

const (
	// Path is where the service answers.
	Path = "/sql/1.0/warehouses/fake"
	// Token is what it asks for.
	Token = "fake-token"
	// ClientID is the service principal that gets a token.
	ClientID = "fake-client"
	// ClientSecret is its secret.
	ClientSecret = "fake secret+"
)

// Statement is what a client runs.
type Statement struct {
	Text string
	// Params are the values of its parameters in order.
	Params []string
}

// Result is what a statement answers.
type Result struct {
	// Error is the server's text of a statement that fails.
	Error string
	// Pages of the result: the first comes with the answer, the others are fetched. Columns have the schema of the first.
	Pages []arrow.RecordBatch
	// FailPage is the number of the page, from 1, that cannot be fetched; 0 for none.
	FailPage int
	// Staging makes the result an order to the driver to move a file: the operation, its URL, its headers and the local file.
	Staging []string
	// Block keeps the statement running until it is cancelled or its session is closed.
	Block bool
}

// Server is a service with its own address.
type Server struct {
	// URL is that of the service's host.
	URL string
	// Answer says what a statement answers. It is called by several goroutines.
	Answer func(Statement) Result
	// Intercept may answer a call by a status of HTTP in place of the service; 0 lets it pass.
	Intercept func(call string) int
	// OpenError is the server's text for a session that cannot be opened.
	OpenError string

	mu         sync.Mutex
	next       uint64
	sessions   map[uint64]bool
	operations map[uint64]*operation
	cancelled  int
	tokens     int
	asked      map[string]string
}

// operation is a statement that has not been closed.
type operation struct {
	session uint64
	result  Result
	page    int
	state   int32
}

// Start starts a service that ends with the test.
func Start(t testing.TB, answer func(Statement) Result) *Server {
	t.Helper()
	s := &Server{Answer: answer, sessions: map[uint64]bool{}, operations: map[uint64]*operation{}}
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	s.URL = server.URL
	return s
}

// Sessions returns how many sessions are open.
func (s *Server) Sessions() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.sessions)
}

// Asked returns the parameters that the last session has asked for.
func (s *Server) Asked() map[string]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.asked)
}

// Cancelled returns how many statements were cancelled.
func (s *Server) Cancelled() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cancelled
}

const (
	running  = int32(1)
	finished = int32(2)
	canceled = int32(3)
	failed   = int32(5)
	// protocol is the version that warehouses speak, arrowSet the format of their results.
	protocol = int32(0xA508)
	arrowSet = int32(1)
	// Fields beside Hive's.
	extended = 1281
)

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/oidc/v1/token" {
		s.token(w, r)
		return
	}
	if r.URL.Path != Path {
		http.NotFound(w, r)
		return
	}
	if r.Header.Get("Authorization") != "Bearer "+Token {
		http.Error(w, "no", http.StatusForbidden)
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	call, err := thriftwire.Decode(body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if s.Intercept != nil {
		if status := s.Intercept(call.Name); status != 0 {
			http.Error(w, "intercepted", status)
			return
		}
	}
	result := s.answer(call.Name, call.Body.Struct(1))
	w.Header().Set("Content-Type", "application/x-thrift")
	_, _ = w.Write(thriftwire.Encode(thriftwire.Message{Name: call.Name, Type: thriftwire.Reply, Seq: call.Seq, Body: thriftwire.Struct{{ID: 0, Value: result}}}))
}

// token answers a service principal's request for a token.
func (s *Server) token(w http.ResponseWriter, r *http.Request) {
	id, secret, _ := r.BasicAuth()
	id, _ = url.QueryUnescape(id)
	secret, _ = url.QueryUnescape(secret)
	if id != ClientID || secret != ClientSecret || r.FormValue("grant_type") != "client_credentials" || r.FormValue("scope") != "all-apis" {
		http.Error(w, `{"error":"invalid_client"}`, http.StatusUnauthorized)
		return
	}
	s.mu.Lock()
	s.tokens++
	s.mu.Unlock()
	_, _ = w.Write([]byte(`{"access_token":"` + Token + `","token_type":"Bearer","expires_in":3600}`))
}

// Tokens returns how many tokens were given out.
func (s *Server) Tokens() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tokens
}

func ok() thriftwire.Field {
	return thriftwire.Field{ID: 1, Value: thriftwire.Struct{{ID: 1, Value: int32(0)}}}
}

func bad(text string) thriftwire.Struct {
	return thriftwire.Struct{{ID: 1, Value: thriftwire.Struct{{ID: 1, Value: int32(3)}, {ID: 5, Value: []byte(text)}}}}
}

// answer returns the result of a call.
func (s *Server) answer(name string, req thriftwire.Struct) thriftwire.Struct {
	switch name {
	case "OpenSession":
		if s.OpenError != "" {
			return bad(s.OpenError)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.next++
		s.sessions[s.next] = true
		s.asked = map[string]string{}
		if asked, ok := req.Get(4).(thriftwire.Map); ok {
			for _, pair := range asked.Pairs {
				s.asked[string(pair[0].([]byte))] = string(pair[1].([]byte))
			}
		}
		return thriftwire.Struct{ok(), {ID: 2, Value: protocol}, {ID: 3, Value: thriftwire.Struct{{ID: 1, Value: handleOf(s.next)}}}}
	case "CloseSession":
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.sessions, number(req.Struct(1).Struct(1)))
		return thriftwire.Struct{ok()}
	case "ExecuteStatement":
		return s.execute(req)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	id := number(req.Struct(1).Struct(1))
	op := s.operations[id]
	if op == nil {
		return bad("invalid OperationHandle")
	}
	switch name {
	case "GetOperationStatus":
		return op.status()
	case "GetResultSetMetadata":
		return op.metadata()
	case "FetchResults":
		return op.fetch()
	case "CancelOperation":
		op.state = canceled
		s.cancelled++
	case "CloseOperation":
		delete(s.operations, id)
	}
	return thriftwire.Struct{ok()}
}

func (s *Server) execute(req thriftwire.Struct) thriftwire.Struct {
	st := Statement{Text: req.Text(2)}
	for _, item := range req.List(1288) {
		st.Params = append(st.Params, item.(thriftwire.Struct).Struct(4).Text(1))
	}
	op := &operation{session: number(req.Struct(1).Struct(1)), result: s.Answer(st), state: finished}
	switch {
	case len(op.result.Staging) > 0:
		op.result.Pages = []arrow.RecordBatch{order(op.result.Staging)}
	case op.result.Block:
		op.state = running
	case op.result.Error != "":
		op.state = failed
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.next++
	s.operations[s.next] = op
	direct := thriftwire.Struct{{ID: 1, Value: op.status()}}
	if op.state == finished {
		direct = append(direct, thriftwire.Field{ID: 2, Value: op.metadata()})
		direct = append(direct, thriftwire.Field{ID: 3, Value: op.fetch()})
		if len(op.result.Pages) < 2 {
			direct = append(direct, thriftwire.Field{ID: 4, Value: thriftwire.Struct{ok()}})
			delete(s.operations, s.next)
		}
	}
	handle := thriftwire.Struct{{ID: 1, Value: handleOf(s.next)}, {ID: 2, Value: int32(0)}, {ID: 3, Value: true}}
	return thriftwire.Struct{ok(), {ID: 2, Value: handle}, {ID: extended, Value: direct}}
}

// order is a result of one row of texts.
func order(values []string) arrow.RecordBatch {
	fields := make([]arrow.Field, len(values))
	for i := range fields {
		fields[i] = arrow.Field{Name: string(rune('a' + i)), Type: arrow.BinaryTypes.String}
	}
	b := array.NewRecordBuilder(memory.DefaultAllocator, arrow.NewSchema(fields, nil))
	defer b.Release()
	for i, v := range values {
		b.Field(i).(*array.StringBuilder).Append(v)
	}
	return b.NewRecordBatch()
}

func (op *operation) status() thriftwire.Struct {
	return thriftwire.Struct{ok(), {ID: 2, Value: op.state}, {ID: extended, Value: []byte(op.result.Error)}}
}

// schema is the schema of the first page; statements without rows have a column all the same.
func (op *operation) schema() *arrow.Schema {
	if len(op.result.Pages) > 0 {
		return op.result.Pages[0].Schema()
	}
	return arrow.NewSchema([]arrow.Field{{Name: "result", Type: arrow.BinaryTypes.String}}, nil)
}

func (op *operation) metadata() thriftwire.Struct {
	columns := thriftwire.List{Type: thriftwire.TypeStruct}
	for i, f := range op.schema().Fields() {
		primitive := thriftwire.Struct{{ID: 1, Value: typeID(f.Type)}}
		entry := thriftwire.Struct{{ID: 1, Value: primitive}}
		desc := thriftwire.Struct{{ID: 1, Value: thriftwire.List{Type: thriftwire.TypeStruct, Items: []any{entry}}}}
		columns.Items = append(columns.Items, thriftwire.Struct{{ID: 1, Value: []byte(f.Name)}, {ID: 2, Value: desc}, {ID: 3, Value: int32(i + 1)}})
	}
	return thriftwire.Struct{ok(), {ID: 2, Value: thriftwire.Struct{{ID: 1, Value: columns}}}, {ID: extended, Value: arrowSet},
		{ID: 1283, Value: schemaMessage(op.schema())}, {ID: 1287, Value: len(op.result.Staging) > 0}}
}

// typeID is the type of a column as Thrift numbers them.
func typeID(t arrow.DataType) int32 {
	switch t.ID() {
	case arrow.BOOL:
		return 0
	case arrow.INT8:
		return 1
	case arrow.INT16:
		return 2
	case arrow.INT32:
		return 3
	case arrow.INT64:
		return 4
	case arrow.FLOAT32:
		return 5
	case arrow.FLOAT64:
		return 6
	case arrow.TIMESTAMP:
		return 8
	case arrow.BINARY:
		return 9
	case arrow.DATE32:
		return 17
	}
	return 7
}

// fetch returns the next page.
func (op *operation) fetch() thriftwire.Struct {
	op.page++
	if op.page == op.result.FailPage {
		return bad("[INTERNAL_ERROR] the page is lost")
	}
	var start int64
	for _, page := range op.result.Pages[:min(op.page-1, len(op.result.Pages))] {
		start += page.NumRows()
	}
	batches := thriftwire.List{Type: thriftwire.TypeStruct}
	if op.page <= len(op.result.Pages) {
		page := op.result.Pages[op.page-1]
		batches.Items = append(batches.Items, thriftwire.Struct{{ID: 1, Value: batchMessage(page)}, {ID: 2, Value: page.NumRows()}})
	}
	rows := thriftwire.Struct{{ID: 1, Value: start}, {ID: 2, Value: thriftwire.List{Type: thriftwire.TypeStruct}}, {ID: extended, Value: batches}}
	return thriftwire.Struct{ok(), {ID: 2, Value: op.page < len(op.result.Pages)}, {ID: 3, Value: rows}, {ID: extended, Value: op.metadata()}}
}

// ends is what a stream of Arrow ends with.
const ends = 8

func schemaMessage(schema *arrow.Schema) []byte {
	var b bytes.Buffer
	_ = ipc.NewWriter(&b, ipc.WithSchema(schema)).Close()
	return b.Bytes()[:b.Len()-ends]
}

func batchMessage(page arrow.RecordBatch) []byte {
	var b bytes.Buffer
	w := ipc.NewWriter(&b, ipc.WithSchema(page.Schema()))
	_ = w.Write(page)
	_ = w.Close()
	return b.Bytes()[len(schemaMessage(page.Schema())):]
}

func handleOf(n uint64) thriftwire.Struct {
	id := binary.BigEndian.AppendUint64(make([]byte, 8), n)
	return thriftwire.Struct{{ID: 1, Value: id}, {ID: 2, Value: id}}
}

func number(handle thriftwire.Struct) uint64 {
	id, _ := handle.Get(1).([]byte)
	if len(id) != 16 {
		return 0
	}
	return binary.BigEndian.Uint64(id[8:])
}
