//! The pretty table: patronictl's frame, with the title inside of the upper border.

use unicode_width::UnicodeWidthStr;

/// Columns whose numbers stand at the right.
const RIGHT: [&str; 6] = ["Group", "Receive LSN", "Replay LSN", "Lag", "TL", "LSN"];

/// Draws the table, without a line break at the end. Rows are parted by rules when a cell has several lines.
/// Several columns may have the same name.
pub fn draw(title: &str, columns: &[String], rows: &[Vec<String>]) -> String {
    let widths: Vec<usize> = (0..columns.len())
        .map(|i| {
            let cells = rows.iter().filter_map(|row| row.get(i)).flat_map(|cell| cell.split('\n'));
            cells.chain([columns[i].as_str()]).map(UnicodeWidthStr::width).max().unwrap_or(0)
        })
        .collect();
    let rule = rule(&widths);
    let ruled = rows.iter().flatten().any(|cell| cell.contains('\n'));
    let mut lines = vec![titled(&rule, title), line(columns, columns, &widths), rule.clone()];
    for (i, row) in rows.iter().enumerate() {
        if ruled && i > 0 {
            lines.push(rule.clone());
        }
        draw_row(columns, row, &widths, &mut lines);
    }
    lines.push(rule);
    lines.join("\n")
}

fn draw_row(columns: &[String], row: &[String], widths: &[usize], lines: &mut Vec<String>) {
    let height = row.iter().map(|cell| cell.split('\n').count()).max().unwrap_or(1);
    for i in 0..height {
        let cells: Vec<String> = row.iter().map(|cell| cell.split('\n').nth(i).unwrap_or("").to_owned()).collect();
        lines.push(line(columns, &cells, widths));
    }
}

fn line(columns: &[String], cells: &[String], widths: &[usize]) -> String {
    let mut line = String::from("|");
    for ((column, cell), width) in columns.iter().zip(cells).zip(widths) {
        let blank = " ".repeat(width.saturating_sub(cell.width()));
        match RIGHT.contains(&column.as_str()) {
            true => line.push_str(&format!(" {blank}{cell} |")),
            false => line.push_str(&format!(" {cell}{blank} |")),
        }
    }
    line
}

fn rule(widths: &[usize]) -> String {
    widths.iter().fold(String::from("+"), |rule, width| rule + &"-".repeat(width + 2) + "+")
}

/// The rule with the title written over it, cut so that both corners stay.
fn titled(rule: &str, title: &str) -> String {
    let room = rule.len().saturating_sub(2);
    let title: String = title.chars().take(room).collect();
    let covered = 1 + title.chars().count();
    format!("{}{title}{}", &rule[..rule.len().min(1)], rule.get(covered..).unwrap_or(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn numbers_stand_right_and_the_title_covers_the_border() {
        let table = draw(
            " Cluster: demo (7612345678901234567) ",
            &words(&["Member", "Host", "TL", "Lag", "Lag"]),
            &[words(&["n0", "10.0.0.1:5432", "2", "", ""]), words(&["n1", "10.0.0.1:5433", "12", "0", "1024"])],
        );
        let expected = "\
+ Cluster: demo (7612345678901234567) -----+
| Member | Host          | TL | Lag |  Lag |
+--------+---------------+----+-----+------+
| n0     | 10.0.0.1:5432 |  2 |     |      |
| n1     | 10.0.0.1:5433 | 12 |   0 | 1024 |
+--------+---------------+----+-----+------+";
        assert_eq!(table, expected);
    }

    #[test]
    fn several_lines_in_a_cell_bring_rules_between_all_rows() {
        let rows = [words(&["a", "x: 1\ny: 2"]), words(&["b", ""]), words(&["c", "z"])];
        let expected = "\
+---+------+
| N | Tags |
+---+------+
| a | x: 1 |
|   | y: 2 |
+---+------+
| b |      |
+---+------+
| c | z    |
+---+------+";
        assert_eq!(draw("", &words(&["N", "Tags"]), &rows), expected);
    }

    #[test]
    fn a_long_title_is_cut_and_no_rows_are_two_rules() {
        let expected = "\
+ Clu+
| M  |
+----+
+----+";
        assert_eq!(draw(" Cluster ", &words(&["M "]), &[]), expected);
    }
}
