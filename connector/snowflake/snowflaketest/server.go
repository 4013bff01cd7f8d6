package snowflaketest

import (
	"compress/gzip"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sort"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// Server is an account. Its fields may be changed until the first request.
type Server struct {
	// URL is the server's, by http on this machine.
	URL string
	// Handle answers statements. It is called concurrently.
	Handle func(Statement) Answer
	// Password is that of every user. Key, if it is set, is the public half of the key that users sign with instead.
	Password string
	Key      *rsa.PublicKey
	// Login, if it is set, can refuse a session by an error that is not 0.
	Login func(parameters map[string]any) (number int)
	// Chunk, if it is set, can cut the n-th fetch of a batch, from 1, after so many bytes; negative for not at all.
	Chunk func(batch, n int) (after int)

	mu       sync.Mutex
	sessions map[string]int
	masters  map[string]int
	opened   int
	renewed  int
	params   []map[string]any
	sent     []Statement
	running  map[string]chan struct{}
	chunks   map[string][]byte
	fetched  map[string]int
}

// Start starts a server, which stops with the test.
func Start(t testing.TB, handle func(Statement) Answer) *Server {
	t.Helper()
	s := &Server{
		Handle: handle, Password: "secret", sessions: map[string]int{}, masters: map[string]int{}, running: map[string]chan struct{}{},
		chunks: map[string][]byte{}, fetched: map[string]int{},
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /session/v1/login-request", s.login)
	mux.HandleFunc("POST /session/token-request", s.renew)
	mux.HandleFunc("POST /session", s.logout)
	mux.HandleFunc("POST /queries/v1/query-request", s.query)
	mux.HandleFunc("POST /queries/v1/abort-request", s.abort)
	mux.HandleFunc("POST /telemetry/send", func(w http.ResponseWriter, _ *http.Request) { reply(w, nil) })
	mux.HandleFunc("GET /chunks/{name}", s.chunk)
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	s.URL = server.URL
	return s
}

// Sessions is how many sessions are open, and Opened how many there ever were.
func (s *Server) Sessions() (open, opened int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.masters), s.opened
}

// Renewed is how often a session's token was renewed.
func (s *Server) Renewed() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.renewed
}

// Parameters are the session parameters of each log-in.
func (s *Server) Parameters() []map[string]any {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]map[string]any(nil), s.params...)
}

// Statements are those that were sent, in order.
func (s *Server) Statements() []Statement {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Statement(nil), s.sent...)
}

// Expire lets the tokens of all sessions expire. They can be renewed.
func (s *Server) Expire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.sessions)
}

// reply writes a successful answer.
func reply(w http.ResponseWriter, data any) {
	write(w, map[string]any{"success": true, "code": nil, "message": nil, "data": data})
}

func write(w http.ResponseWriter, body map[string]any) {
	text, err := json.Marshal(body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(text)
}

// refuse writes an error.
func refuse(w http.ResponseWriter, number int, state, message string) {
	code := fmt.Sprintf("%06d", number)
	write(w, map[string]any{
		"success": false, "code": code, "message": message, "data": map[string]any{"errorCode": code, "sqlState": state, "queryId": "01b0-fake"},
	})
}

// read decodes the body of a request.
func read(r *http.Request, into any) error {
	var body io.Reader = r.Body
	if r.Header.Get("Content-Encoding") == "gzip" {
		plain, err := gzip.NewReader(r.Body)
		if err != nil {
			return err
		}
		body = plain
	}
	return json.NewDecoder(body).Decode(into)
}

func token(r *http.Request) string {
	text := strings.TrimPrefix(r.Header.Get("Authorization"), "Snowflake Token=")
	return strings.Trim(text, `"`)
}

func (s *Server) login(w http.ResponseWriter, r *http.Request) {
	var body struct {
		Data struct {
			LoginName     string         `json:"LOGIN_NAME"`
			Password      string         `json:"PASSWORD"`
			Authenticator string         `json:"AUTHENTICATOR"`
			Token         string         `json:"TOKEN"`
			Parameters    map[string]any `json:"SESSION_PARAMETERS"`
		} `json:"data"`
	}
	if err := read(r, &body); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	switch {
	case s.Key != nil && !signed(body.Data.Token, s.Key):
		refuse(w, 390144, "08001", "JWT token is invalid. [fake-trace-id]")
		return
	case s.Key == nil && body.Data.Password != s.Password:
		refuse(w, 390100, "08001", "Incorrect username or password was specified for "+body.Data.LoginName)
		return
	}
	if s.Login != nil {
		if number := s.Login(body.Data.Parameters); number != 0 {
			refuse(w, number, "08001", "driver text of the login")
			return
		}
	}
	s.mu.Lock()
	s.opened++
	n := s.opened
	session, master := fmt.Sprintf("session-%d", n), fmt.Sprintf("master-%d", n)
	s.sessions[session], s.masters[master] = n, n
	s.params = append(s.params, body.Data.Parameters)
	s.mu.Unlock()
	reply(w, map[string]any{
		"token": session, "masterToken": master, "sessionId": n, "validityInSeconds": 3600, "masterValidityInSeconds": 14400,
		"parameters": []map[string]any{{"name": "TIMEZONE", "value": "UTC"}}, "sessionInfo": map[string]any{},
	})
}

// signed reports whether a JWT was signed by the key.
func signed(jwt string, key *rsa.PublicKey) bool {
	parts := strings.Split(jwt, ".")
	if len(parts) != 3 {
		return false
	}
	signature, err := base64.RawURLEncoding.DecodeString(parts[2])
	if err != nil {
		return false
	}
	sum := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	return rsa.VerifyPKCS1v15(key, crypto.SHA256, sum[:], signature) == nil
}

func (s *Server) renew(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n, ok := s.masters[token(r)]
	if !ok {
		refuse(w, 390114, "08001", "master token has expired")
		return
	}
	s.renewed++
	session := fmt.Sprintf("session-%d-%d", n, s.renewed)
	s.sessions[session] = n
	reply(w, map[string]any{
		"sessionToken": session, "validityInSecondsST": 3600, "masterToken": token(r), "validityInSecondsMT": 14400, "sessionId": n,
	})
}

func (s *Server) logout(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	if n, ok := s.sessions[token(r)]; ok && r.URL.Query().Get("delete") == "true" {
		delete(s.masters, fmt.Sprintf("master-%d", n))
		for name, of := range s.sessions {
			if of == n {
				delete(s.sessions, name)
			}
		}
	}
	s.mu.Unlock()
	reply(w, nil)
}

func (s *Server) abort(w http.ResponseWriter, r *http.Request) {
	var body struct {
		RequestID string `json:"requestId"`
	}
	if err := read(r, &body); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	if running, ok := s.running[body.RequestID]; ok {
		close(running)
		delete(s.running, body.RequestID)
	}
	s.mu.Unlock()
	reply(w, nil)
}

func (s *Server) query(w http.ResponseWriter, r *http.Request) {
	var body struct {
		SQLText      string `json:"sqlText"`
		DescribeOnly bool   `json:"describeOnly"`
		Bindings     map[string]struct {
			Value any `json:"value"`
		} `json:"bindings"`
	}
	if err := read(r, &body); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	session, ok := s.sessions[token(r)]
	if !ok {
		s.mu.Unlock()
		refuse(w, 390112, "08001", "Your session has expired. Please login again.")
		return
	}
	st := Statement{SQL: body.SQLText, Describe: body.DescribeOnly, Session: session, RequestID: r.URL.Query().Get("requestId")}
	numbers := make([]int, 0, len(body.Bindings))
	for name := range body.Bindings {
		n, _ := strconv.Atoi(name)
		numbers = append(numbers, n)
	}
	sort.Ints(numbers)
	for _, n := range numbers {
		st.Args = append(st.Args, fmt.Sprint(body.Bindings[strconv.Itoa(n)].Value))
	}
	canceled := make(chan struct{})
	st.Canceled = canceled
	s.running[st.RequestID] = canceled
	s.sent = append(s.sent, st)
	s.mu.Unlock()
	a := s.Handle(st)
	s.mu.Lock()
	delete(s.running, st.RequestID)
	s.mu.Unlock()
	switch {
	case a.Cut:
		cut(w)
	case a.Number != 0:
		refuse(w, a.Number, a.State, a.Message)
	default:
		reply(w, s.data(a))
	}
}

// cut closes the connection of a request.
func cut(w http.ResponseWriter) {
	conn, _, err := w.(http.Hijacker).Hijack()
	if err == nil {
		_ = conn.Close()
	}
}

// data is the answer in the form of the protocol.
func (s *Server) data(a Answer) map[string]any {
	columns := make([]map[string]any, len(a.Columns))
	for i, c := range a.Columns {
		columns[i] = map[string]any{"name": c.Name, "type": c.Type, "precision": c.Precision, "scale": c.Scale, "nullable": true, "length": 0, "byteLength": 0}
	}
	data := map[string]any{"rowtype": columns, "queryId": "01b0-fake", "total": a.Total, "parameters": []any{}, "statementTypeId": 4096}
	if a.PutFrom != "" {
		data["command"], data["src_locations"], data["sourceCompression"], data["autoCompress"] = "UPLOAD", []string{a.PutFrom}, "NONE", false
		data["parallel"], data["overwrite"] = 4, false
		data["stageInfo"] = map[string]any{"locationType": "LOCAL_FS", "location": a.PutTo, "path": "", "creds": map[string]any{}}
		return data
	}
	if a.Batches == nil {
		data["rowset"], data["queryResultFormat"], data["total"] = rowset(a.Rows), "json", len(a.Rows)
		return data
	}
	data["queryResultFormat"] = "arrow"
	data["rowsetBase64"] = base64.StdEncoding.EncodeToString(a.Batches[0])
	var chunks []map[string]any
	total := a.Counts[0]
	s.mu.Lock()
	for i, batch := range a.Batches[1:] {
		name := fmt.Sprintf("%d-%d", len(s.chunks), i+1)
		s.chunks[name] = batch
		total += a.Counts[i+1]
		chunks = append(chunks, map[string]any{"url": s.URL + "/chunks/" + name, "rowCount": a.Counts[i+1], "uncompressedSize": len(batch), "compressedSize": len(batch)})
	}
	s.mu.Unlock()
	data["chunks"], data["chunkHeaders"] = chunks, map[string]string{"x-fake": "1"}
	if a.Total == 0 {
		data["total"] = total
	}
	return data
}

// rowset is a result in JSON.
func rowset(rows [][]string) [][]any {
	set := make([][]any, len(rows))
	for i, row := range rows {
		set[i] = make([]any, len(row))
		for j, value := range row {
			if value != Null {
				set[i][j] = value
			}
		}
	}
	return set
}

func (s *Server) chunk(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	s.mu.Lock()
	s.fetched[name]++
	n, content := s.fetched[name], s.chunks[name]
	s.mu.Unlock()
	if s.Chunk != nil {
		_, number, _ := strings.Cut(name, "-")
		batch, _ := strconv.Atoi(number)
		if after := s.Chunk(batch, n); after >= 0 {
			w.Header().Set("Content-Length", strconv.Itoa(len(content)))
			_, _ = w.Write(content[:min(after, len(content))])
			_ = http.NewResponseController(w).Flush()
			cut(w)
			return
		}
	}
	_, _ = w.Write(content)
}
