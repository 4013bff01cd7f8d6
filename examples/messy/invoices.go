package main

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"strings"
)

// truth is what a run of examples/invoice_cleaner.yaml has to count.
type truth struct {
	Read      int `json:"read"`
	Malformed int `json:"malformed"`
	Filtered  int `json:"filtered"`
	Rejected  int `json:"rejected"`
	Mapped    int `json:"mapped"`
	// Flaws says how often each kind of trouble was written.
	Flaws map[string]int `json:"flaws"`
}

// invoice is one record before it is written.
type invoice struct {
	number, customer, amount, quantity, issued, state, country, email, kind, note string
}

func (v invoice) fields() []string {
	return []string{v.number, v.customer, v.amount, v.quantity, v.issued, v.state, v.country, v.email, v.kind, v.note}
}

const header = "inv_no,customer,amt,qty,issued,state,country,email,kind,note\n"

var (
	customers = []string{"Acme", "Söhne & Co", "O'Neill", "Widgets, Inc.", `The "Best" Shop`, "株式会社サンプル", "Ångström AB"}
	countries = []string{"de", "FR", "it", "ES", "nl", "SE", "jp"}
	states    = []string{"open", "PAID", "paid", "Void", "OPEN"}
	notes     = []string{"", "thanks", "first line\nsecond line", "call before delivery", "50% discount, agreed"}
)

// flaw is one kind of trouble: how many of 10,000 records have it, where they end, and what it does to a record. Text
// that spoil returns replaces the record's line.
type flaw struct {
	name  string
	share int
	lands func(*truth) *int
	spoil func(r *rand.Rand, v *invoice) (line string)
}

func malformed(t *truth) *int { return &t.Malformed }
func filtered(t *truth) *int  { return &t.Filtered }
func rejected(t *truth) *int  { return &t.Rejected }
func mapped(t *truth) *int    { return &t.Mapped }

var flaws = []flaw{
	{"bad date", 60, rejected, func(r *rand.Rand, v *invoice) string {
		v.issued = pick(r, "31/02/2025", "2025-03-04", "soon", "12/13/2025", "00/00/0000")
		return ""
	}},
	{"bad decimal", 60, rejected, func(r *rand.Rand, v *invoice) string {
		v.amount = pick(r, "12.345", "1e5", "twelve", "0x10", "1.2.3", "99999999999.00")
		return ""
	}},
	{"negative amount", 20, rejected, func(_ *rand.Rand, v *invoice) string {
		v.amount = "-" + v.amount
		return ""
	}},
	{"no customer", 20, rejected, func(_ *rand.Rand, v *invoice) string {
		v.customer = ""
		return ""
	}},
	{"bad quantity", 20, rejected, func(r *rand.Rand, v *invoice) string {
		v.quantity = pick(r, "3.5", "many", "99999999999", " ")
		return ""
	}},
	{"unknown state", 40, mapped, func(_ *rand.Rand, v *invoice) string {
		v.state = "lost" // The flow gives it a default.
		return ""
	}},
	{"test record", 100, filtered, func(_ *rand.Rand, v *invoice) string {
		v.kind = "test"
		return ""
	}},
	{"too few fields", 15, malformed, func(_ *rand.Rand, v *invoice) string {
		return strings.Join(v.fields()[:6], ",") + "\n"
	}},
	{"too many fields", 15, malformed, func(_ *rand.Rand, v *invoice) string {
		return strings.Join([]string{v.number, "x", "1.00", "1", v.issued, "open", "DE", "", "sale", "", "what", "is this"}, ",") + "\n"
	}},
	{"not UTF-8", 15, malformed, func(_ *rand.Rand, v *invoice) string {
		v.customer = "M\xfcller GmbH"
		return ""
	}},
}

// duplicates is how many of 10,000 records repeat the number of an earlier good one.
const duplicates = 50

// write writes the header and rows records, and returns what is in them.
func write(w *bufio.Writer, rows int, seed uint64) truth {
	r := rand.New(rand.NewPCG(seed, 0x1f83d9ab))
	t := truth{Read: rows, Flaws: map[string]int{}}
	keep(w.WriteString(header))
	var last string // The number of a record that is mapped.
	for i := range rows {
		v := good(r, i)
		line, f := "", choose(r)
		switch {
		case f != nil:
			line = f.spoil(r, &v)
			*f.lands(&t)++
			t.Flaws[f.name]++
		case last != "" && r.IntN(10_000) < duplicates:
			v.number = last
			t.Rejected++
			t.Flaws["duplicate number"]++
		default:
			last = v.number
			t.Mapped++
		}
		if line == "" {
			line = record(v)
		}
		keep(w.WriteString(line))
	}
	return t
}

// choose picks the flaw of a record; nil for most.
func choose(r *rand.Rand) *flaw {
	n := r.IntN(10_000)
	for i := range flaws {
		if n -= flaws[i].share; n < 0 {
			return &flaws[i]
		}
	}
	return nil
}

func good(r *rand.Rand, i int) invoice {
	return invoice{
		number:   fmt.Sprintf(" INV-%07d ", i), // The flow trims it.
		customer: pick(r, customers...),
		amount:   fmt.Sprintf("$%d.%02d", r.IntN(100_000), r.IntN(100)),
		quantity: fmt.Sprint(1 + r.IntN(500)),
		issued:   fmt.Sprintf("%02d/%02d/%d", 1+r.IntN(28), 1+r.IntN(12), 2020+r.IntN(6)),
		state:    pick(r, states...),
		country:  pick(r, countries...),
		email:    fmt.Sprintf("billing%d@example.com", r.IntN(10_000)),
		kind:     "sale",
		note:     pick(r, notes...),
	}
}

// record quotes what needs it.
func record(v invoice) string {
	fields := v.fields()
	for i, f := range fields {
		if strings.ContainsAny(f, ",\"\n") {
			fields[i] = `"` + strings.ReplaceAll(f, `"`, `""`) + `"`
		}
	}
	return strings.Join(fields, ",") + "\n"
}

func pick(r *rand.Rand, from ...string) string { return from[r.IntN(len(from))] }

// keep drops an error of a bufio.Writer, which keeps it for Flush.
func keep(int, error) {}
