package main

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"time"
)

// columns are the batch's columns in order.
var columns = []string{
	"inv_no", "customer", "country", "kind", "amount", "tax", "quantity", "issued", "due", "booked_at", "state", "note",
}

// writeBatch writes a deterministic CSV of n rows; about one row in fifty is bad: a date that does not exist, an amount that
// is not one, a negative amount, an unknown state, or an invoice number that was there before.
func writeBatch(path string, n int) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	w := bufio.NewWriterSize(f, 1<<20)
	rnd := rand.New(rand.NewPCG(1, uint64(n)))
	countries := []string{"DE", "FR", "NL", "PL", "SE", "US", "GB", "IT", "ES", "AT"}
	kinds := []string{"standard", "credit", "proforma"}
	states := []string{"open", "paid", "void"}
	day := time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
	line := make([]byte, 0, 256)
	for i, name := range columns {
		if i > 0 {
			w.WriteByte(',')
		}
		w.WriteString(name)
	}
	w.WriteByte('\n')
	for i := range n {
		number, amount, state := i, fmt.Sprintf("%d.%02d", rnd.IntN(100000), rnd.IntN(100)), states[rnd.IntN(3)]
		issued := day.AddDate(0, 0, rnd.IntN(2000))
		issuedText := issued.Format("02/01/2006")
		switch bad := rnd.IntN(250); {
		case bad == 0:
			issuedText = "31/02/2021"
		case bad == 1:
			amount = "n/a"
		case bad == 2:
			amount = "-" + amount
		case bad == 3:
			state = "lost"
		case bad == 4 && i > 0:
			number = rnd.IntN(i)
		}
		line = append(line[:0], "INV-"...)
		line = appendPadded(line, number, 10)
		line = append(line, ",Customer "...)
		line = strconv.AppendInt(line, int64(rnd.IntN(50000)), 10)
		line = append(line, " Ltd,"...)
		line = append(line, countries[rnd.IntN(len(countries))]...)
		line = append(line, ',')
		line = append(line, kinds[rnd.IntN(3)]...)
		line = append(line, ',')
		line = append(line, amount...)
		line = append(line, ',')
		line = strconv.AppendInt(line, int64(rnd.IntN(2000)), 10)
		line = append(line, '.')
		line = appendPadded(line, rnd.IntN(100), 2)
		line = append(line, ',')
		line = strconv.AppendInt(line, int64(rnd.IntN(1000)), 10)
		line = append(line, ',')
		line = append(line, issuedText...)
		line = append(line, ',')
		line = issued.AddDate(0, 0, 30).AppendFormat(line, "2006-01-02")
		line = append(line, ',')
		line = issued.Add(time.Duration(rnd.IntN(86400))*time.Second).AppendFormat(line, "2006-01-02 15:04:05")
		line = append(line, ',')
		line = append(line, state...)
		line = append(line, ",note number "...)
		line = strconv.AppendInt(line, int64(rnd.IntN(1000000)), 10)
		line = append(line, " of this batch\n"...)
		if _, err := w.Write(line); err != nil {
			return err
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	return f.Sync()
}

func appendPadded(b []byte, n, width int) []byte {
	digits := strconv.Itoa(n)
	for range width - len(digits) {
		b = append(b, '0')
	}
	return append(b, digits...)
}

// flow is the work as Lume is told it. The hand-written SQL of limits.go does the same.
const flow = `name: bench
source:
  connector: bench-files
  csv: {}
columns:
  - {name: invoice_id, type: string, from: inv_no, key: true, pattern: "INV-[0-9]+"}
  - {name: customer, type: string, from: trim(customer), required: true}
  - {name: country, type: string, from: upper(country), one_of: [DE, FR, NL, PL, SE, US, GB, IT, ES, AT]}
  - {name: kind, type: string}
  - {name: amount, type: "decimal(12,2)", required: true}
  - {name: tax, type: "decimal(12,2)"}
  - {name: quantity, type: int32}
  - {name: issued_on, type: date, from: issued, format: "%d/%m/%Y", required: true}
  - {name: due_on, type: date, from: due}
  - {name: booked_at, type: timestamp}
  - {name: status, type: string, from: upper(state), one_of: [OPEN, PAID, VOID]}
  - {name: note, type: string, max_length: 200}
rules:
  - {name: positive_amount, check: amount >= 0, message: amount must not be negative}
  - {name: due_after_issue, check: due_on >= issued_on}
target:
  connector: bench-warehouse
  table: public.bench_invoices
  mode: append
  create: true
`

// targetTable is the table that flow creates, for loads by hand.
const targetTable = `(invoice_id text NOT NULL PRIMARY KEY, customer text NOT NULL, country text, kind text,
 amount numeric(12,2) NOT NULL, tax numeric(12,2), quantity integer, issued_on date NOT NULL, due_on date,
 booked_at timestamp, status text, note text)`
