"""Training sets that are correct at a point in time, as processing plans.

For each row of the spine and each view, of the view's rows with the same keys the one counts whose event time is the greatest, among those
whose event time is at or before the label time (before it, if the view is strict) and that were written at or before the label time. Ties
of the event time go to the latest write time, those to the first row by the values of the features that are read, from left to right, nulls
last; the whole row is taken, never a value of one and a value of another.

- Every row of the spine is kept, once, also one that is there twice; the order of rows means nothing.
- A row that was found and is older than the view's `max_age` (exactly that age is not older) gives nulls, with the status OUTSIDE_MAX_AGE.
  No older row is looked at instead. Without any row the status is NOT_FOUND, and otherwise PRESENT, whatever the values are.
- Null equals nothing: a null key or label time finds nothing, a row with a null key, event time or (where that counts) write time is never
  found. A view without keys has one history for everybody.
- Times are DATE (its midnight), TIMESTAMP, or TIMESTAMP WITH TIME ZONE. Those with and without a zone do not go together: binding the plan
  refuses them. So it does numbers, texts and nanoseconds.
"""
