//! `corelane cluster describe`

use serde_json::Value;

use super::{Cluster, Report, ToolError};

pub(super) fn describe(cluster: &mut Cluster) -> Result<Report, ToolError> {
    let answer = cluster.metadata(Some(&[]))?;
    let mut report = Report::new(&["cluster", "broker", "address", "rack", "controller"]);
    let id = answer.cluster_id.as_ref().map_or(Value::Null, |id| id.to_string().into());
    for broker in &answer.brokers {
        report.row([
            id.clone(),
            broker.node_id.into(),
            format!("{}:{}", broker.host, broker.port).into(),
            broker.rack.as_ref().map_or(Value::Null, |rack| rack.to_string().into()),
            (broker.node_id == answer.controller_id).into(),
        ]);
    }
    Ok(report)
}
