"""Files of events, catalogues, phrases and predictions, read in bounded memory.

Each reader reports what it left out and why, with the line number and the fix; rows are events,
bad lines and told drops. `places` finds the files that a name stands for, `opening` unpacks them,
`lines` and `columnar` give what is in them as documents or lines, `table` the rows of a table.
`columns` says which column is which field, `values` reads what stands in a cell or an object,
`rows` makes events of rows, `objects` and `table_events` of whole files, `shapes` knows public data
sets without a header, `report` counts. The room imports `contracts` and the ground; `offline`,
`clients` and the command line import it. Begin with `events`.
"""
