#!/usr/bin/env bash
# A tour of the broker's API with curl. Start the broker first (scripts/run), then:
#   examples/tour.sh                          the broker on 127.0.0.1:3000
#   BROKER_URL=http://host:port examples/tour.sh
# Every step prints the request and the answer, and is checked; the first surprise ends the tour
# with exit code 1. The tour keeps to a topic of its own and leaves nothing behind.
set -euo pipefail

BROKER_URL=${BROKER_URL:-http://127.0.0.1:3000}
TOPIC=tour-$$-$RANDOM
JSON='content-type: application/json'
answer=

bold='' plain=''
if [ -t 1 ]; then
    bold=$'\033[1m' plain=$'\033[0m'
fi

title() {
    printf '\n%s%s%s\n' "$bold" "$*" "$plain"
}

fail() {
    printf '\nThe tour ends here: %s\n' "$*" >&2
    exit 1
}

# call STATUS METHOD PATH [CURL OPTIONS...]: send it, show it, check the status; sets $answer.
call() {
    local wanted=$1 method=$2 path=$3 status
    shift 3
    printf '  %s %s' "$method" "$path"
    [ $# -eq 0 ] || printf '  %s' "${@: -1}"
    printf '\n'
    answer=$(curl --silent --show-error --max-time 40 --write-out '\n%{http_code}' \
        --request "$method" "$BROKER_URL$path" "$@") ||
        fail "no answer from $BROKER_URL. Is the broker running? Start it with scripts/run."
    status=${answer##*$'\n'}
    answer=${answer%$'\n'*}
    if [ "${#answer}" -gt 600 ]; then
        printf '  %s %s...\n' "$status" "${answer:0:600}"
    else
        printf '  %s %s\n' "$status" "$answer"
    fi
    [ "$status" = "$wanted" ] || fail "$method $path was answered with $status instead of $wanted."
}

# text NAME: the value of the first member NAME that is a string, out of $answer.
text() {
    local rest=${answer#*\""$1"\":\"}
    [ "$rest" != "$answer" ] || fail "the answer has no \"$1\"."
    printf '%s' "${rest%%\"*}"
}

# has TEXT: check that the answer contains it.
has() {
    case $answer in
        *"$1"*) ;;
        *) fail "the answer does not contain $1" ;;
    esac
}

title 'Is it there?'
call 200 GET /api/health
has '"healthy"'

title 'Publish an event: answered when it is on disk'
call 202 POST "/api/events?topic=$TOPIC" -H "$JSON" -d '{"order": 1, "customer": "Ada"}'
id=$(text id)

title 'Publish a batch: all of it or nothing'
call 202 POST "/api/events/batch?topic=$TOPIC" -H "$JSON" \
    -d '[{"order": 2, "customer": "Grace"}, {"order": 3, "customer": "Edsger"}]'
has '"count":2'

title 'What is no JSON object is refused, and says why'
call 400 POST "/api/events?topic=$TOPIC" -H "$JSON" -d '{"order": '
has INVALID_PAYLOAD

title 'Consume one event; the receipt is what settles it'
call 200 GET "/api/events/consume?topic=$TOPIC&maxEvents=1&timeoutMs=1000"
has "$id"
has '{"order": 1, "customer": "Ada"}'
receipt=$(text receiptId)

title 'Ask for more time with it'
call 200 POST "/api/events/$receipt/extend?visibilityTimeoutMs=20000"
has '"deadline"'

title 'Acknowledge it: it is settled for good'
call 200 POST /api/events/acknowledge -H "$JSON" -d "{\"receiptIds\": [\"$receipt\"]}"
has "\"acknowledged\":[\"$receipt\"]"

title 'Take the next one, and fail: it comes again after the others, with one retry counted'
call 200 GET "/api/events/consume?topic=$TOPIC&maxEvents=1&timeoutMs=1000"
has '"order": 2'
call 200 POST "/api/events/$(text receiptId)/nack?requeue=true&delayMs=0"
call 200 GET "/api/events/consume?topic=$TOPIC&maxEvents=10&timeoutMs=2000"
has '"count":2'
has '"retries":1'
third=$(text receiptId)
answer=${answer#*"$third"}
second=$(text receiptId)
call 200 POST /api/events/acknowledge -H "$JSON" -d "{\"receiptIds\": [\"$third\"]}"

title 'Reject it: a dead letter'
call 200 POST "/api/events/$second/nack?requeue=false"
call 200 GET "/api/dlq?topic=$TOPIC"
has '"reason":"rejected"'
has '"total":1'

title 'Bring it back: the same event, with no retries'
call 200 POST "/api/dlq/$(text receiptId)/reprocess"
call 200 GET "/api/events/consume?topic=$TOPIC&maxEvents=10&timeoutMs=1000"
has '"order": 2'
has '"retries":0'

title 'Reject it again, and drop it for good'
call 200 POST "/api/events/$(text receiptId)/nack?requeue=false"
call 200 GET "/api/dlq?topic=$TOPIC"
call 200 DELETE "/api/dlq/$(text receiptId)"

title 'Nothing is left: a poll that waits for nothing answers at once'
call 200 GET "/api/events/consume?topic=$TOPIC&timeoutMs=0"
has '"count":0'

title 'A settled receipt settles nothing else'
call 404 POST "/api/events/$receipt/nack"
has EVENT_NOT_FOUND

title 'Where the events are, and what has happened'
call 200 GET /api/status
call 200 GET /api/metrics

title 'The tour is over; every answer was as expected.'
