package worker

import "errors"

// WithReceipt adds to an error of a handler what is known of the receipt, as protobuf JSON: for example that a target's
// outcome is not known. The rest of the error stays as it is.
func WithReceipt(err error, receiptJSON string) error {
	if err == nil {
		return nil
	}
	return &receiptError{error: err, receipt: receiptJSON}
}

type receiptError struct {
	error
	receipt string
}

func (e *receiptError) Unwrap() error { return e.error }

func receiptOf(err error) string {
	var e *receiptError
	if errors.As(err, &e) {
		return e.receipt
	}
	return ""
}
