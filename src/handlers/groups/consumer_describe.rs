//! ConsumerGroupDescribe (69), versions 0 and 1: groups under the consumer protocol, member by member (KIP-848).
//!
//! Source: Kafka 4.1, `ConsumerGroup.asDescribedGroup`.

use super::{
    super::{Context, OPERATIONS_NOT_ASKED, text, uuid},
    GROUP_OPERATIONS, code_of,
};
use crate::{
    coordinator::{
        consumer::{Assignment as Partitions, Current, Description, Subscription},
        messages::{GroupAnswer, GroupRequest},
    },
    model::{ClusterView, ErrorCode},
    wire::messages::{
        ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse,
        consumer_group_describe_response::{Assignment, DescribedGroup, Member, TopicPartitions},
    },
};

/// A member that speaks the classic protocol, as version 1 tells.
const CLASSIC_MEMBER: i8 = 0;
/// A member under this protocol.
const CONSUMER_MEMBER: i8 = 1;

/// Describes each.
pub async fn handle(
    request: ConsumerGroupDescribeRequest,
    version: i16,
    context: &Context<'_>,
) -> ConsumerGroupDescribeResponse {
    let mut response = ConsumerGroupDescribeResponse::default();
    for group in request.group_ids {
        let mut answer = DescribedGroup::default();
        answer.error_message = None;
        match context.groups.ask(&group, GroupRequest::DescribeConsumer).await {
            Ok(GroupAnswer::DescribeConsumer(Some(found))) => {
                describe(&mut answer, *found, &context.view, version);
            }
            Ok(GroupAnswer::DescribeConsumer(None)) => {
                answer.error_code = ErrorCode::GroupIdNotFound.number();
                answer.error_message = Some(text(format!("Group {group} is not a consumer group.")));
            }
            Ok(_) => panic!("a description was answered as something else"),
            Err(error) => answer.error_code = code_of(&error).number(),
        }
        answer.group_id = group;
        answer.authorized_operations =
            if request.include_authorized_operations { GROUP_OPERATIONS } else { OPERATIONS_NOT_ASKED };
        response.groups.push(answer);
    }
    response
}

fn describe(answer: &mut DescribedGroup, found: Description, view: &ClusterView, version: i16) {
    answer.group_state = text(found.state);
    (answer.group_epoch, answer.assignment_epoch) = (found.epoch, found.target_epoch);
    answer.assignor_name = text(found.assignor);
    let member = |(id, is, current, target): (String, Subscription, Current, Partitions)| {
        let mut member = Member::default();
        member.member_id = text(id);
        let is_classic = is.classic.is_some();
        (member.instance_id, member.rack_id) = (is.instance_id.map(text), is.rack_id.map(text));
        member.member_epoch = current.epoch;
        (member.client_id, member.client_host) = (text(is.client_id), text(is.client_host));
        member.subscribed_topic_names = is.topics.into_iter().map(text).collect();
        member.subscribed_topic_regex = is.regex.map(text);
        member.assignment = assignment(current.assigned, view);
        member.target_assignment = assignment(target, view);
        if version >= 1 {
            member.member_type = if is_classic { CLASSIC_MEMBER } else { CONSUMER_MEMBER };
        }
        member
    };
    answer.members = found.members.into_iter().map(member).collect();
}

fn assignment(partitions: Partitions, view: &ClusterView) -> Assignment {
    let mut assignment = Assignment::default();
    // What was of a topic that is gone has no name any more.
    assignment.topic_partitions = partitions
        .into_iter()
        .filter_map(|(id, partitions)| {
            let mut topic = TopicPartitions::default();
            topic.topic_name = text(&view.topic_by_id(id)?.name);
            topic.topic_id = uuid(id);
            topic.partitions = partitions.into_iter().collect();
            Some(topic)
        })
        .collect();
    assignment
}
