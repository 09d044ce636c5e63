<#
.SYNOPSIS
A tour of the broker's API in PowerShell (7 or newer).

.DESCRIPTION
Start the broker first (scripts/run), then run: pwsh examples/tour.ps1
Every step prints the request and the answer, and is checked; the first surprise ends the tour with
exit code 1. The tour keeps to a topic of its own and leaves nothing behind.
#>
param(
    [string] $BrokerUrl = $(if ($env:BROKER_URL) { $env:BROKER_URL } else { 'http://127.0.0.1:3000' })
)

Set-StrictMode -Version Latest
$ErrorActionPreference = 'Stop'
$topic = "tour-$PID-$(Get-Random)"

function Write-Title([string] $Text) {
    Write-Host "`n$Text" -ForegroundColor Cyan
}

function Stop-Tour([string] $Why) {
    Write-Host "`nThe tour ends here: $Why" -ForegroundColor Red
    exit 1
}

# Send a request, show it, check the status; returns what the JSON of the answer says.
function Invoke-Step([int] $Wanted, [string] $Method, [string] $Path, [string] $Body = '') {
    Write-Host "  $Method $Path  $Body"
    $request = @{
        Method             = $Method
        Uri                = "$BrokerUrl$Path"
        SkipHttpErrorCheck = $true
        TimeoutSec         = 40
    }
    if ($Body) {
        $request.Body = $Body
        $request.ContentType = 'application/json'
    }
    try {
        $response = Invoke-WebRequest @request
    }
    catch {
        Stop-Tour "no answer from $BrokerUrl ($_). Is the broker running? Start it with scripts/run."
    }
    $text = $response.Content
    if ($text -is [byte[]]) {
        # An error's content type, application/problem+json, is not taken for text.
        $text = [System.Text.Encoding]::UTF8.GetString($text)
    }
    Write-Host "  $($response.StatusCode) $text"
    if ($response.StatusCode -ne $Wanted) {
        Stop-Tour "$Method $Path was answered with $($response.StatusCode) instead of $Wanted."
    }
    return $text | ConvertFrom-Json
}

function Assert-That([bool] $Condition, [string] $What) {
    if (-not $Condition) { Stop-Tour "expected: $What" }
}

Write-Title 'Is it there?'
$answer = Invoke-Step 200 GET '/api/health'
Assert-That ($answer.status -eq 'healthy') 'the broker is healthy'

Write-Title 'Publish an event: answered when it is on disk'
$published = Invoke-Step 202 POST "/api/events?topic=$topic" '{"order": 1, "customer": "Ada"}'

Write-Title 'Publish a batch: all of it or nothing'
$answer = Invoke-Step 202 POST "/api/events/batch?topic=$topic" `
    '[{"order": 2, "customer": "Grace"}, {"order": 3, "customer": "Edsger"}]'
Assert-That ($answer.count -eq 2) 'two events are accepted'

Write-Title 'What is no JSON object is refused, and says why'
$answer = Invoke-Step 400 POST "/api/events?topic=$topic" '{"order": '
Assert-That ($answer.code -eq 'INVALID_PAYLOAD') 'the code is INVALID_PAYLOAD'

Write-Title 'Consume one event; the receipt is what settles it'
$answer = Invoke-Step 200 GET "/api/events/consume?topic=$topic&maxEvents=1&timeoutMs=1000"
Assert-That ($answer.events[0].id -eq $published.id) 'the first event comes first'
$receipt = $answer.events[0].receiptId

Write-Title 'Ask for more time with it'
$null = Invoke-Step 200 POST "/api/events/$receipt/extend?visibilityTimeoutMs=20000"

Write-Title 'Acknowledge it: it is settled for good'
$answer = Invoke-Step 200 POST '/api/events/acknowledge' "{`"receiptIds`": [`"$receipt`"]}"
Assert-That ($answer.acknowledged -contains $receipt) 'the receipt is acknowledged'

Write-Title 'Take the next one, and fail: it comes again after the others, with one retry counted'
$answer = Invoke-Step 200 GET "/api/events/consume?topic=$topic&maxEvents=1&timeoutMs=1000"
$null = Invoke-Step 200 POST "/api/events/$($answer.events[0].receiptId)/nack?requeue=true&delayMs=0"
$left = Invoke-Step 200 GET "/api/events/consume?topic=$topic&maxEvents=10&timeoutMs=2000"
Assert-That ($left.count -eq 2) 'two events are left'
Assert-That ($left.events[1].retries -eq 1) 'one retry is counted'
$third = $left.events[0].receiptId
$answer = Invoke-Step 200 POST '/api/events/acknowledge' "{`"receiptIds`": [`"$third`"]}"

Write-Title 'Reject it: a dead letter'
$null = Invoke-Step 200 POST "/api/events/$($left.events[1].receiptId)/nack?requeue=false"
$answer = Invoke-Step 200 GET "/api/dlq?topic=$topic"
Assert-That ($answer.total -eq 1) 'there is one dead letter'
Assert-That ($answer.entries[0].reason -eq 'rejected') 'it was rejected'

Write-Title 'Bring it back: the same event, with no retries'
$null = Invoke-Step 200 POST "/api/dlq/$($answer.entries[0].receiptId)/reprocess"
$answer = Invoke-Step 200 GET "/api/events/consume?topic=$topic&maxEvents=10&timeoutMs=1000"
Assert-That ($answer.events[0].payload.order -eq 2) 'it is the second order'
Assert-That ($answer.events[0].retries -eq 0) 'it has no retries'

Write-Title 'Reject it again, and drop it for good'
$null = Invoke-Step 200 POST "/api/events/$($answer.events[0].receiptId)/nack?requeue=false"
$answer = Invoke-Step 200 GET "/api/dlq?topic=$topic"
$null = Invoke-Step 200 DELETE "/api/dlq/$($answer.entries[0].receiptId)"

Write-Title 'Nothing is left: a poll that waits for nothing answers at once'
$answer = Invoke-Step 200 GET "/api/events/consume?topic=$topic&timeoutMs=0"
Assert-That ($answer.count -eq 0) 'nothing is left'

Write-Title 'A settled receipt settles nothing else'
$answer = Invoke-Step 404 POST "/api/events/$receipt/nack"
Assert-That ($answer.code -eq 'EVENT_NOT_FOUND') 'the code is EVENT_NOT_FOUND'

Write-Title 'Where the events are, and what has happened'
$null = Invoke-Step 200 GET '/api/status'
$null = Invoke-Step 200 GET '/api/metrics'

Write-Title 'The tour is over; every answer was as expected.'
