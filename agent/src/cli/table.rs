//! Columns for people.

use std::io::Write;

use countersign_common::untrusted::is_active;

use super::outcome::CliError;

/// Rows as aligned columns, two spaces apart, without trailing space; the first row is the heading.
pub(super) fn columns<const N: usize>(rows: &[[String; N]]) -> Result<String, CliError> {
    let mut writer = tabwriter::TabWriter::new(Vec::new()).padding(2);
    for row in rows {
        // A value with a tab or a line break would make columns and rows of its own.
        let cells = row.each_ref().map(|cell| cell.replace(is_active, "?"));
        writeln!(writer, "{}", cells.join("\t")).map_err(CliError::output)?;
    }
    let aligned = writer.into_inner().map_err(CliError::output)?;
    let aligned = String::from_utf8_lossy(&aligned);
    Ok(aligned.lines().map(str::trim_end).collect::<Vec<_>>().join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_cells_stay_in_their_row() {
        let rows = [["A", "B"], ["long value", "x\ny\u{202e}"], ["s", ""]].map(|row| row.map(str::to_owned));
        assert_eq!(columns(&rows).unwrap(), "A           B\nlong value  x?y?\ns");
    }
}
