package expr

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// function is what a listed function or operator may be given.
type function struct {
	// min and max numbers of arguments; a negative max is any number.
	min, max int
	// infallible is true if no argument of a type that it takes can make it fail.
	infallible bool
	// constant arguments by position: the largest number, or 0 for text.
	constant map[int]int
}

// maxPadding is the largest length that lpad, rpad and repeat may be given.
const maxPadding = 1000

// functions are all that an expression may call. Every one is deterministic and its output is bounded by its input; a
// test holds the list against what the engine says of stability.
var functions = func() map[string]function {
	all := map[string]function{}
	add := func(f function, names string) {
		for _, name := range strings.Fields(names) {
			all[name] = f
		}
	}
	total := func(least, most int) function { return function{min: least, max: most, infallible: true} }
	partial := func(least, most int) function { return function{min: least, max: most} }
	constant := func(least, most int, limits map[int]int) function {
		return function{min: least, max: most, constant: limits}
	}

	// Text.
	add(total(1, 1), "upper ucase lower lcase length len char_length character_length strlen octet_length bit_length reverse")
	add(total(1, 1), "strip_accents nfc_normalize md5 sha1 sha256 hex to_hex to_base64 base64 encode regexp_escape")
	add(total(1, 2), "trim ltrim rtrim")
	add(total(2, 2), "contains starts_with prefix ends_with suffix ^@ position strpos instr ~~ !~~ ~~* !~~* ~~~ ||")
	add(total(1, -1), "concat hash")
	add(total(2, -1), "concat_ws")
	add(partial(2, 3), "substr substring")
	add(partial(2, 2), "left right")
	add(partial(3, 3), "split_part translate like_escape ilike_escape not_like_escape not_ilike_escape")
	add(function{min: 3, max: 3, infallible: true, constant: map[int]int{2: 0}}, "replace")
	add(partial(1, 1), "ascii ord unicode chr unhex from_hex from_base64 decode url_encode url_decode")
	add(constant(3, 3, map[int]int{1: maxPadding}), "lpad rpad")
	add(constant(2, 2, map[int]int{1: maxPadding}), "repeat")
	add(constant(2, 3, map[int]int{1: 0, 2: 0}), "regexp_matches regexp_full_match")
	add(constant(2, 4, map[int]int{1: 0, 2: 9, 3: 0}), "regexp_extract")
	add(constant(3, 4, map[int]int{1: 0, 2: 0, 3: 0}), "regexp_replace")
	add(partial(2, 2), "string_split str_split split string_to_array list_extract list_element array_extract list_contains")
	add(partial(2, 2), "list_has array_contains list_position array_length array_to_string")

	// Numbers.
	add(partial(1, 2), "+ - round trunc round_even")
	add(partial(2, 2), "* / // % mod fmod fdiv ** ^ pow power roundbankers gcd greatest_common_divisor lcm least_common_multiple atan2")
	add(partial(1, 1), "abs ceil ceiling floor sign sqrt cbrt exp ln log2 log10 even sin cos tan asin acos atan degrees radians")
	add(partial(1, 2), "log")
	add(partial(1, 1), "isnan isinf isfinite")
	add(total(0, 0), "pi")
	add(partial(1, -1), "greatest least")

	// Dates and times.
	add(partial(1, 1), "year month day dayofmonth dayofweek weekday isodow dayofyear week weekofyear yearweek isoyear quarter decade century")
	add(partial(1, 1), "hour minute second millisecond microsecond epoch epoch_ms epoch_us last_day dayname monthname to_timestamp days_in_month")
	add(partial(1, 1), "to_years to_quarters to_months to_weeks to_days to_hours to_minutes to_seconds to_milliseconds to_microseconds")
	add(constant(2, 2, map[int]int{0: 0}), "date_part datepart date_trunc datetrunc")
	add(constant(3, 3, map[int]int{0: 0}), "date_diff datediff date_sub datesub")
	add(partial(2, 2), "date_add age timezone")
	add(partial(2, 3), "time_bucket")
	add(partial(3, 3), "make_date make_time")
	add(partial(6, 6), "make_timestamp")
	add(constant(2, 2, map[int]int{1: 0}), "strftime strptime try_strptime")

	// Choices and JSON.
	add(total(2, 2), "nullif")
	add(partial(1, 2), "json_valid json_array_length json_type")
	add(constant(2, 2, map[int]int{1: 0}), "json_extract json_extract_string json_extract_path json_extract_path_text ->> json_exists json_value")
	return all
}()

// Functions returns the names of the functions that expressions may call, sorted, without operators.
func Functions() []string {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(functions)) {
		if isWord(name) {
			names = append(names, name)
		}
	}
	return names
}

func isWord(name string) bool { return name != "" && (name[0] >= 'a' && name[0] <= 'z') }

// notDeterministic are functions and words whose value depends on when or where they are evaluated.
var notDeterministic = map[string]string{
	"now": "", "current_date": "", "current_timestamp": "", "current_time": "", "today": "", "get_current_time": "",
	"get_current_timestamp": "", "transaction_timestamp": "", "localtime": "", "localtimestamp": "", "current_localtime": "",
	"current_localtimestamp": "", "statement_timestamp": "", "clock_timestamp": "", "ago": "",
	"random": "-", "setseed": "-", "uuid": "-", "uuidv4": "-", "uuidv7": "-", "gen_random_uuid": "-", "nextval": "-", "currval": "-",
	"txid_current": "-", "current_user": "-", "session_user": "-", "user": "-", "current_role": "-", "current_schema": "-",
	"current_database": "-", "current_catalog": "-", "current_setting": "-", "current_query": "-", "getvariable": "-", "version": "-",
}

// notDeterministicProblem words the refusal of such a name.
func notDeterministicProblem(name string, at int) *Problem {
	next := "use run.id, or a column of the source"
	if notDeterministic[name] == "" {
		next = "use run.created_at, the time at which the run was created"
	}
	return problem(ReasonNotDeterministic, at, next, "%s would give another value on another attempt", name)
}

// aggregates that people try first.
var aggregates = map[string]bool{"sum": true, "count": true, "count_star": true, "avg": true, "min": true, "max": true, "first": true,
	"last": true, "string_agg": true, "listagg": true, "list": true, "array_agg": true, "any_value": true, "median": true}

// checkCall checks a call against the list.
func checkCall(n *Node) *Problem {
	if n.Name == "->" {
		n.Name = "json_extract"
	}
	f, ok := functions[n.Name]
	if !ok {
		if _, ok := notDeterministic[n.Name]; ok {
			return notDeterministicProblem(n.Name, n.At)
		}
		if aggregates[n.Name] {
			return problem(ReasonNotAllowed, n.At, "an expression sees one row at a time", "%s is an aggregate over many rows", n.Name)
		}
		return problem(ReasonUnknownFunction, n.At, DidYouMean(n.Name, Functions()), "there is no function %s for expressions", cut(n.Name, 64))
	}
	if len(n.Args) < f.min || f.max >= 0 && len(n.Args) > f.max {
		return problem(ReasonType, n.At, "", "%s takes %s, not %d", n.Name, f.arity(), len(n.Args))
	}
	for i, limit := range f.constant {
		if i >= len(n.Args) {
			continue
		}
		if p := checkConstant(n, i, limit); p != nil {
			return p
		}
	}
	return nil
}

// checkConstant checks an argument that must be a literal: a whole number up to limit, or text if limit is 0.
func checkConstant(n *Node, i, limit int) *Problem {
	arg := n.Args[i]
	if limit == 0 || n.Name == "regexp_extract" && arg.isText() {
		if !arg.isText() && !arg.isNull() && !(n.Name == "json_extract" || n.Name == "->>" || strings.HasPrefix(n.Name, "json_")) {
			return problem(ReasonNotAllowed, n.At, "write the text itself in quotes", "argument %d of %s must be constant text", i+1, n.Name)
		}
		if arg.Kind != Constant {
			return problem(ReasonNotAllowed, n.At, "write the path itself in quotes", "argument %d of %s must be constant", i+1, n.Name)
		}
		return nil
	}
	number, err := strconv.Atoi(arg.Value.Text)
	if arg.Kind != Constant || err != nil || number < 0 || number > limit {
		return problem(ReasonNotAllowed, n.At, "", "argument %d of %s must be a whole number from 0 to %d, written out", i+1, n.Name, limit)
	}
	return nil
}

func (f function) arity() string {
	switch {
	case f.max < 0:
		return fmt.Sprintf("at least %d arguments", f.min)
	case f.min == 1 && f.max == 1:
		return "1 argument"
	case f.min == f.max:
		return fmt.Sprintf("%d arguments", f.min)
	default:
		return fmt.Sprintf("%d to %d arguments", f.min, f.max)
	}
}
