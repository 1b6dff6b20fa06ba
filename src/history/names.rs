//! Texts that stand in many rows, each written once. What was looked up is remembered, up to a number.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension, params};

/// Texts remembered in memory of each table.
const KNOWN_MAX: usize = 4096;
/// Types in the file beyond which those that no event has are looked for.
const TYPES_MAX: i64 = 10_000;

/// A table of texts.
#[derive(Clone, Copy, Debug)]
pub(super) enum Table {
    /// What is configured: sources, providers, labels of secrets.
    Names,
    /// Types of events: what senders write.
    Types,
}

impl Table {
    fn find(self) -> &'static str {
        match self {
            Self::Names => "SELECT id FROM names WHERE name = ?1",
            Self::Types => "SELECT id FROM types WHERE name = ?1",
        }
    }

    fn add(self) -> &'static str {
        match self {
            Self::Names => "INSERT INTO names (name) VALUES (?1) RETURNING id",
            Self::Types => "INSERT INTO types (name) VALUES (?1) RETURNING id",
        }
    }
}

/// The number of a text; none where no row has it.
pub(super) fn find(connection: &Connection, table: Table, name: &str) -> rusqlite::Result<Option<i64>> {
    connection.prepare_cached(table.find())?.query_row([name], |row| row.get(0)).optional()
}

/// Numbers of texts that were looked up.
#[derive(Debug, Default)]
pub(super) struct Names {
    names: HashMap<String, i64>,
    types: HashMap<String, i64>,
}

impl Names {
    /// The number of a text, which is added where it is not there.
    pub(super) fn number(
        &mut self,
        connection: &Connection,
        table: Table,
        name: &str,
    ) -> rusqlite::Result<i64> {
        let known = match table {
            Table::Names => &mut self.names,
            Table::Types => &mut self.types,
        };
        if let Some(number) = known.get(name) {
            return Ok(*number);
        }
        let number = match find(connection, table, name)? {
            Some(number) => number,
            None => connection.prepare_cached(table.add())?.query_row([name], |row| row.get(0))?,
        };
        if known.len() >= KNOWN_MAX {
            known.clear();
        }
        known.insert(name.to_owned(), number);
        Ok(number)
    }

    /// What was looked up may not be there: a transaction was rolled back.
    pub(super) fn forget(&mut self) {
        self.names.clear();
        self.types.clear();
    }

    /// Lets types go that no event has any more, where there are very many.
    pub(super) fn prune(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        let count: i64 = connection.query_row("SELECT COUNT(*) FROM types", params![], |row| row.get(0))?;
        if count > TYPES_MAX {
            let unused = "DELETE FROM types WHERE NOT EXISTS (SELECT 1 FROM events WHERE type = types.id)";
            connection.execute(unused, params![])?;
            self.forget();
        }
        Ok(())
    }
}
