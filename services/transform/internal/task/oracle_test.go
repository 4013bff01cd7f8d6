package task

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"math/big"
	"sort"
	"strconv"
	"strings"
	"time"
	"unicode"

	flowv1 "github.com/lume-data/lume/gen/lume/flow/v1"
)

// The oracle maps batches in plain Go, one cell at a time, from the documentation alone: it shares no code with the
// compiler. Values are text in one canonical form per type; nil is NULL.

// cell is a value or a failure.
type cell struct {
	text   *string
	failed bool
}

func is(s string) cell { return cell{text: &s} }

// formula is an expression: how flows write it, and what it is for a row.
type formula struct {
	sql  string
	eval func(row map[string]*string) cell
}

// target is a column of the oracle's flow.
type target struct {
	name, typ, format string
	from              formula
	required, key     bool
	oneOf             []string
	min, max          *string
	maxLength         int
	policy, fallback  string
}

// check is a rule of the oracle's flow over the values of columns.
type check struct {
	name, sql, policy string
	columns           []string
	// holds is false, true, or failed.
	holds func(values map[string]*string) (ok, failed bool)
}

// scenario is a flow as the oracle knows it.
type scenario struct {
	filter     *formula
	targets    []target
	checks     []check
	uniques    [][]string
	duplicates string
}

// mapped is what the oracle expects.
type mapped struct {
	rows         []string
	rejects      []string
	filtered     int64
	deduplicated int64
}

// expect maps a table. records are the records of rows, or nil.
func (s scenario) expect(columns []string, rows [][]*string) mapped {
	var out mapped
	type valid struct {
		n      int
		values []*string
	}
	var good []valid
	rejects := map[int][]string{}
	for n, values := range rows {
		row := map[string]*string{}
		for i, c := range columns {
			row[c] = values[i]
		}
		if s.filter != nil {
			f := s.filter.eval(row)
			if f.failed {
				rejects[n] = append(rejects[n], "expression")
			} else if f.text == nil || *f.text != "true" {
				out.filtered++
				continue
			}
		}
		mappedRow, errs := s.mapRow(row)
		rejects[n] = append(rejects[n], errs...)
		if len(rejects[n]) == 0 {
			good = append(good, valid{n, mappedRow})
		}
	}
	// The batch: first keys that keep one row, then what is unique among those that are left.
	position := map[string]int{}
	for i, t := range s.targets {
		position[t.name] = i
	}
	keyOf := func(v valid, columns []string) (string, bool) {
		var parts []string
		for _, c := range columns {
			text := v.values[position[c]]
			if text == nil {
				return "", false
			}
			parts = append(parts, strconv.Quote(*text))
		}
		return strings.Join(parts, ","), true
	}
	var keys []string
	for _, t := range s.targets {
		if t.key {
			keys = append(keys, t.name)
		}
	}
	uniques := append([][]string(nil), s.uniques...)
	names := make([]string, len(uniques))
	for i := range uniques {
		names[i] = fmt.Sprintf("u%d", i)
	}
	if len(keys) > 0 {
		if s.duplicates == "keep_first" || s.duplicates == "keep_last" {
			kept := map[string]int{}
			for i, v := range good {
				k, _ := keyOf(v, keys)
				if _, ok := kept[k]; !ok || s.duplicates == "keep_last" {
					kept[k] = i
				}
			}
			var left []valid
			for i, v := range good {
				if k, _ := keyOf(v, keys); kept[k] == i {
					left = append(left, v)
				} else {
					out.deduplicated++
				}
			}
			good = left
		} else {
			uniques = append([][]string{keys}, uniques...)
			names = append([]string{""}, names...)
		}
	}
	late := map[int][]string{}
	for i, u := range uniques {
		first := map[string]bool{}
		for _, v := range good {
			k, ok := keyOf(v, u)
			if !ok {
				continue
			}
			if first[k] {
				about := ""
				if len(u) == 1 {
					about = u[0]
				}
				late[v.n] = append(late[v.n], strings.TrimSpace("unique "+strings.TrimSpace(about+" "+names[i])))
			}
			first[k] = true
		}
	}
	for _, v := range good {
		if len(late[v.n]) == 0 {
			out.rows = append(out.rows, show([]row{{int64(v.n), v.values}})...)
		}
	}
	out.rejects = append(listed(rejects), listed(late)...)
	return out
}

// listed writes reasons by row.
func listed(rejects map[int][]string) []string {
	var rows []int
	for n, errs := range rejects {
		if len(errs) > 0 {
			rows = append(rows, n)
		}
	}
	sort.Ints(rows)
	var out []string
	for _, n := range rows {
		out = append(out, fmt.Sprintf("%d: %s", n, strings.Join(rejects[n], "; ")))
	}
	return out
}

// mapRow maps one row and returns all reasons against it.
func (s scenario) mapRow(row map[string]*string) (values []*string, errs []string) {
	byName := map[string]*string{}
	bad := map[string]bool{}
	for _, t := range s.targets {
		v, reasons := t.value(row)
		if len(reasons) > 0 {
			switch t.policy {
			case "null":
				v, reasons = nil, nil
			case "default":
				v, reasons = &t.fallback, nil
			}
		}
		bad[t.name] = len(reasons) > 0
		byName[t.name] = v
		values = append(values, v)
		for _, r := range reasons {
			errs = append(errs, r+" "+t.name)
		}
	}
	for _, c := range s.checks {
		skip := c.policy == "warn"
		for _, name := range c.columns {
			skip = skip || bad[name]
		}
		if skip {
			continue
		}
		about := ""
		if len(c.columns) == 1 {
			about = c.columns[0] + " "
		}
		switch ok, failed := c.holds(byName); {
		case failed:
			errs = append(errs, "expression "+about+c.name)
		case !ok:
			errs = append(errs, "check "+about+c.name)
		}
	}
	return values, errs
}

// value is a column's value for a row before its error policy, and the types of what is wrong with it.
func (t target) value(row map[string]*string) (*string, []string) {
	c := t.from.eval(row)
	if c.failed {
		return nil, []string{"expression"}
	}
	if c.text == nil {
		if t.required || t.key {
			return nil, []string{"required"}
		}
		return nil, nil
	}
	v, ok := convert(t.typ, t.format, *c.text)
	if !ok {
		return nil, []string{"type"}
	}
	var wrong []string
	if len(t.oneOf) > 0 {
		found := false
		for _, o := range t.oneOf {
			found = found || o == v
		}
		if !found {
			wrong = append(wrong, "enum")
		}
	}
	if t.min != nil && less(t.typ, v, *t.min) {
		wrong = append(wrong, "range")
	}
	if t.max != nil && less(t.typ, *t.max, v) {
		wrong = append(wrong, "range")
	}
	if t.maxLength > 0 && len([]rune(v)) > t.maxLength {
		wrong = append(wrong, "range")
	}
	return &v, wrong
}

// less compares canonical values of a type.
func less(typ, a, b string) bool {
	if strings.HasPrefix(typ, "int") || strings.HasPrefix(typ, "decimal") || strings.HasPrefix(typ, "float") {
		x, _, _ := big.ParseFloat(a, 10, 200, big.ToNearestEven)
		y, _, _ := big.ParseFloat(b, 10, 200, big.ToNearestEven)
		return x.Cmp(y) < 0
	}
	return a < b
}

// convert reads text as a type and returns its canonical form.
func convert(typ, format, s string) (string, bool) {
	switch {
	case typ == "string":
		return s, true
	case typ == "bool":
		l := strings.ToLower(s)
		return l, l == "true" || l == "false"
	case strings.HasPrefix(typ, "int"):
		bits, _ := strconv.Atoi(typ[3:])
		if !digits(strings.TrimLeft(s, "+-"), 1) || len(s)-len(strings.TrimLeft(s, "+-")) > 1 {
			return "", false
		}
		n, ok := new(big.Int).SetString(strings.TrimPrefix(s, "+"), 10)
		if !ok || !n.IsInt64() || bits < 64 && (n.Int64() >= 1<<(bits-1) || n.Int64() < -1<<(bits-1)) {
			return "", false
		}
		return n.String(), true
	case strings.HasPrefix(typ, "decimal"):
		return convertDecimal(typ, s)
	case typ == "float64":
		mantissa, exponent, hasExponent := strings.Cut(strings.ToLower(s), "e")
		if !number(mantissa) || hasExponent && !digits(strings.TrimLeft(exponent, "+-"), 1) || len(exponent)-len(strings.TrimLeft(exponent, "+-")) > 1 {
			return "", false
		}
		f, err := strconv.ParseFloat(s, 64)
		if err != nil && !math.IsInf(f, 0) || math.IsInf(f, 0) {
			return "", false
		}
		return canonicalFloat(f), true
	case typ == "binary":
		b, err := hex.DecodeString(s)
		return base64.StdEncoding.EncodeToString(b), err == nil
	case typ == "json":
		return s, json.Valid([]byte(s))
	case typ == "uuid":
		parts := strings.Split(s, "-")
		want := []int{8, 4, 4, 4, 12}
		if len(parts) != 5 {
			return "", false
		}
		for i, p := range parts {
			if _, err := hex.DecodeString(p); err != nil || len(p) != want[i] {
				return "", false
			}
		}
		return strings.ToLower(s), true
	default:
		return convertTime(typ, format, s)
	}
}

func digits(s string, least int) bool {
	for _, r := range s {
		if r < '0' || r > '9' {
			return false
		}
	}
	return len(s) >= least
}

// number is an optional sign and digits with an optional point.
func number(s string) bool {
	if s != "" && (s[0] == '+' || s[0] == '-') {
		s = s[1:]
	}
	whole, fraction, point := strings.Cut(s, ".")
	return digits(whole, 0) && digits(fraction, 0) && len(whole)+len(fraction) > 0 && (point || len(whole) > 0)
}

func convertDecimal(typ, s string) (string, bool) {
	var p, scale int
	_, _ = fmt.Sscanf(typ, "decimal(%d,%d)", &p, &scale)
	if !number(s) {
		return "", false
	}
	whole, fraction, _ := strings.Cut(s, ".")
	fraction = strings.TrimRight(fraction, "0")
	if len(fraction) > scale {
		return "", false
	}
	if scale == 0 && strings.Trim(whole, "+-") == "" {
		return "", false
	}
	n, ok := new(big.Int).SetString(strings.TrimPrefix(whole, "+")+fraction+strings.Repeat("0", scale-len(fraction)), 10)
	if !ok || len(new(big.Int).Abs(n).String()) > p {
		return "", false
	}
	text, sign := new(big.Int).Abs(n).String(), ""
	if n.Sign() < 0 {
		sign = "-"
	}
	if scale == 0 {
		return sign + text, true
	}
	for len(text) <= scale {
		text = "0" + text
	}
	return sign + text[:len(text)-scale] + "." + text[len(text)-scale:], true
}

func canonicalFloat(f float64) string { return strconv.FormatFloat(f, 'g', -1, 64) }

// convertTime reads dates and times as the standard library does, after a look at the shape.
func convertTime(typ, format, s string) (string, bool) {
	shape := strings.Map(func(r rune) rune {
		if unicode.IsDigit(r) && r < 128 {
			return '0'
		}
		return r
	}, s)
	if format == "%d/%m/%Y" {
		t, err := time.Parse("02/01/2006", s)
		return t.Format("2006-01-02"), err == nil && shape == "00/00/0000" && t.Year() > 0
	}
	trimmed := shape
	if i := strings.LastIndexByte(shape, '.'); i >= 0 && digits(strings.TrimLeft(shape[i+1:], "0"), 0) && len(shape)-i-1 >= 1 && len(shape)-i-1 <= 6 {
		trimmed = shape[:i]
	}
	switch typ {
	case "date":
		t, err := time.Parse("2006-01-02", s)
		return s, err == nil && shape == "0000-00-00" && t.Year() > 0
	case "time":
		t, err := time.Parse("15:04:05", s)
		return t.Format("15:04:05.000000"), err == nil && trimmed == "00:00:00"
	case "timestamp":
		t, err := time.Parse("2006-01-02 15:04:05", strings.Replace(s, "T", " ", 1))
		return t.Format("2006-01-02 15:04:05.000000"), err == nil && (trimmed == "0000-00-00 00:00:00" || trimmed == "0000-00-00T00:00:00") && t.Year() > 0
	}
	return convertInstant(s)
}

func convertInstant(s string) (string, bool) {
	var (
		local  string
		offset time.Duration
	)
	switch {
	case strings.HasSuffix(s, "Z"):
		local = strings.TrimSuffix(s, "Z")
	default:
		i := strings.LastIndexAny(s, "+-")
		if i < 19 {
			return "", false
		}
		zone := s[i+1:]
		if len(zone) == 5 && zone[2] == ':' {
			zone = zone[:2] + zone[3:]
		}
		if len(zone) == 2 {
			zone += "00"
		}
		if len(zone) != 4 || !digits(zone, 4) || zone[:2] > "15" || zone[2:] > "59" {
			return "", false
		}
		h, _ := strconv.Atoi(zone[:2])
		m, _ := strconv.Atoi(zone[2:])
		offset = time.Duration(h*60+m) * time.Minute
		if s[i] == '-' {
			offset = -offset
		}
		local = s[:i]
	}
	text, ok := convertTime("timestamp", "", local)
	if !ok {
		return "", false
	}
	t, err := time.Parse("2006-01-02 15:04:05", text)
	t = t.Add(-offset)
	return t.Format("2006-01-02 15:04:05.000000"), err == nil && t.Year() >= 1 && t.Year() <= 9999
}

// spec writes the scenario as a flow.
func (s scenario) spec() *flowv1.Flow {
	f := &flowv1.Flow{Name: "oracle", Duplicates: s.duplicates,
		Source: &flowv1.Source{Connector: "c", Format: &flowv1.Source_Csv{Csv: &flowv1.Csv{}}},
		Target: &flowv1.Target{Connector: "t", Table: "x", Mode: "append"}}
	if s.filter != nil {
		f.Filter = s.filter.sql
	}
	for _, t := range s.targets {
		c := &flowv1.Column{Name: t.name, Type: t.typ, Format: t.format, From: t.from.sql, Required: t.required, Key: t.key,
			OneOf: t.oneOf, Min: t.min, Max: t.max, MaxLength: int32(t.maxLength)}
		c.OnError = onError(t.policy, t.fallback)
		f.Columns = append(f.Columns, c)
	}
	for _, c := range s.checks {
		f.Rules = append(f.Rules, &flowv1.Rule{Name: c.name, Check: c.sql, OnError: c.policy})
	}
	for i, u := range s.uniques {
		f.Rules = append(f.Rules, &flowv1.Rule{Name: fmt.Sprintf("u%d", i), Unique: u})
	}
	return f
}
