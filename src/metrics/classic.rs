//! A scrape in the older text format (version 0.0.4), which whoever does not ask for OpenMetrics reads: the same samples, under
//! families that are called as their samples are.

/// OpenMetrics text in the older format: counters and infos are described under the names of their samples, an info is a
/// gauge, and units and the end are left out.
pub fn classic(openmetrics: &str) -> String {
    let mut text = String::with_capacity(openmetrics.len());
    let mut help = None;
    for line in openmetrics.lines() {
        if let Some(said) = line.strip_prefix("# HELP ") {
            help = said.split_once(' ');
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|said| said.split_once(' '))
        {
            let (end, kind) = match kind {
                "counter" => ("_total", kind),
                "info" => ("_info", "gauge"),
                _ => ("", kind),
            };
            if let Some((_, meaning)) = help.take().filter(|(of, _)| *of == name) {
                text.push_str(&format!("# HELP {name}{end} {meaning}\n"));
            }
            text.push_str(&format!("# TYPE {name}{end} {kind}\n"));
        } else if !line.starts_with('#') {
            text.push_str(line);
            text.push('\n');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_are_called_as_their_samples_and_samples_stay() {
        let openmetrics = "# HELP a Some. Of all.\n# TYPE a counter\n# UNIT a bytes\na_total{x=\"# y\"} 7\n# HELP b Version.\n\
                           # TYPE b info\nb_info{version=\"1\"} 1\n# TYPE c gauge\nc 0.5\n# EOF\n";
        let expected = "# HELP a_total Some. Of all.\n# TYPE a_total counter\na_total{x=\"# y\"} 7\n# HELP b_info Version.\n\
                        # TYPE b_info gauge\nb_info{version=\"1\"} 1\n# TYPE c gauge\nc 0.5\n";
        assert_eq!(classic(openmetrics), expected);
    }
}
