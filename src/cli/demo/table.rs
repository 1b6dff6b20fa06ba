//! The demo's tables: plain text in columns, a colour for good and bad where a terminal shows it.

use super::play::{Outcome, Row, Taken};

const GREEN: &str = "\u{1b}[32m";
const RED: &str = "\u{1b}[31m";
const DIM: &str = "\u{1b}[2m";
const PLAIN: &str = "\u{1b}[0m";

/// One cell: its text, and whether it stands to the right.
#[derive(Clone, Debug)]
struct Cell {
    text: String,
    right: bool,
    colour: &'static str,
}

impl Cell {
    fn left(text: impl Into<String>) -> Self {
        Self { text: text.into(), right: false, colour: "" }
    }

    fn right(text: impl Into<String>) -> Self {
        Self { text: text.into(), right: true, colour: "" }
    }

    fn verdict(good: bool) -> Self {
        let (text, colour) = if good { ("ok", GREEN) } else { ("WRONG", RED) };
        Self { text: text.to_owned(), right: false, colour }
    }

    fn width(&self) -> usize {
        self.text.chars().count()
    }

    fn padded(&self, width: usize, colour: bool) -> String {
        let pad = " ".repeat(width.saturating_sub(self.width()));
        let text = match self.colour {
            paint if colour && !paint.is_empty() && !self.text.is_empty() => {
                format!("{paint}{}{PLAIN}", self.text)
            }
            _ => self.text.clone(),
        };
        if self.right { format!("{pad}{text}") } else { format!("{text}{pad}") }
    }
}

/// The whole text: deliveries, events in the worker's hands, verdict.
pub(super) fn render(outcome: &Outcome, colour: bool) -> String {
    let deliveries = outcome.rows.iter().map(delivery).collect();
    let taken = outcome.taken.iter().map(event).collect();
    let head =
        |titles: &[&str]| titles.iter().map(|title| Cell { colour: DIM, ..Cell::left(*title) }).collect();
    let first =
        columns(head(&["provider", "delivery", "answer", "ms", "", "what happened"]), deliveries, colour);
    let second = columns(
        head(&["provider", "in the worker's hands", "bytes", "same bytes", "", "message_id"]),
        taken,
        colour,
    );
    format!("{first}\n{second}\n{}\n", verdict(outcome, colour))
}

fn delivery(row: &Row) -> Vec<Cell> {
    let (answer, millis) = match &row.answer {
        Some((status, millis)) => (status.to_string(), millis.clone()),
        None => ("-".to_owned(), "-".to_owned()),
    };
    vec![
        Cell::left(&row.provider),
        Cell::left(row.delivery),
        Cell::right(answer),
        Cell::right(millis),
        Cell::verdict(row.good),
        Cell::left(&row.what),
    ]
}

fn event(taken: &Taken) -> Vec<Cell> {
    vec![
        Cell::left(&taken.provider),
        Cell::left(&taken.what),
        Cell::right(taken.bytes.to_string()),
        Cell::right(if taken.same { "yes" } else { "no" }),
        Cell::verdict(taken.good),
        Cell::left(&taken.message_id),
    ]
}

/// Lines of cells under a head, each column as wide as its widest cell.
fn columns(head: Vec<Cell>, rows: Vec<Vec<Cell>>, colour: bool) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.chain(head.get(column)).map(Cell::width).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let aligned = |(column, cell): (usize, &Cell)| Cell {
        right: rows.first().and_then(|row| row.get(column)).is_some_and(|cell| cell.right),
        ..cell.clone()
    };
    let head: Vec<Cell> = head.iter().enumerate().map(aligned).collect();
    let line = |cells: &Vec<Cell>| {
        let cells: Vec<String> =
            cells.iter().zip(&widths).map(|(cell, width)| cell.padded(*width, colour)).collect();
        format!("{}\n", cells.join("  ").trim_end())
    };
    std::iter::once(&head).chain(&rows).map(line).collect()
}

fn verdict(outcome: &Outcome, colour: bool) -> String {
    let bad = outcome.rows.iter().filter(|row| !row.good).count()
        + outcome.taken.iter().filter(|taken| !taken.good).count();
    let (paint, plain) = match (colour, outcome.is_good()) {
        (false, _) => ("", ""),
        (true, true) => (GREEN, PLAIN),
        (true, false) => (RED, PLAIN),
    };
    let text = if outcome.is_good() {
        let refused =
            outcome.rows.iter().filter(|row| row.answer.as_ref().is_some_and(|(status, _)| *status == 401));
        format!(
            "All as it must be: {} events accepted, each in a worker's hands once with the same bytes; {} deliveries refused.",
            outcome.taken.len(),
            refused.count()
        )
    } else {
        format!("NOT as it must be: {bad} of {} lines are wrong.", outcome.rows.len() + outcome.taken.len())
    };
    format!("{paint}{text}{plain}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(good: bool) -> Outcome {
        let row = |delivery, answer: Option<(u16, &str)>, what: &str, good| Row {
            provider: "Shop".to_owned(),
            delivery,
            answer: answer.map(|(status, millis)| (status, millis.to_owned())),
            what: what.to_owned(),
            good,
        };
        let taken = Taken {
            provider: "Shop".to_owned(),
            message_id: "ab12".to_owned(),
            bytes: 1234,
            same: true,
            what: "acknowledged".to_owned(),
            good: true,
        };
        let rows = vec![
            row("signed", Some((200, "12.5")), "accepted", true),
            row("forged", Some((401, "0.3")), "refused: signature_mismatch", good),
            row("old", None, "the scheme has no time", true),
        ];
        Outcome { rows, taken: vec![taken] }
    }

    #[test]
    fn columns_are_aligned() {
        let want = "\
provider  delivery  answer    ms      what happened
Shop      signed       200  12.5  ok  accepted
Shop      forged       401   0.3  ok  refused: signature_mismatch
Shop      old            -     -  ok  the scheme has no time

provider  in the worker's hands  bytes  same bytes      message_id
Shop      acknowledged            1234         yes  ok  ab12

All as it must be: 1 events accepted, each in a worker's hands once with the same bytes; 1 deliveries refused.
";
        assert_eq!(render(&outcome(true), false), want);
    }

    #[test]
    fn what_is_wrong_stands_out() {
        let text = render(&outcome(false), false);
        assert!(
            text.contains("WRONG  refused") && text.ends_with("NOT as it must be: 1 of 4 lines are wrong.\n")
        );
        assert!(!outcome(false).is_good() && !Outcome::default().is_good());
    }

    #[test]
    fn colours_change_no_width() {
        let mut coloured = render(&outcome(false), true);
        assert!(coloured.contains("\u{1b}[31mWRONG"));
        for code in [GREEN, RED, DIM, PLAIN] {
            coloured = coloured.replace(code, "");
        }
        let lines = |text: &str| text.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>();
        assert_eq!(lines(&coloured), lines(&render(&outcome(false), false)));
    }
}
