package org.reactorvfio.bridge;

import java.util.ArrayList;
import java.util.List;
import org.reactorvfio.operations.IrqSet;

/**
 * An {@link IrqSet} as it crosses the wire: where it has an eventfd, the client says by which number it knows the stream that takes
 * the eventfd's place, or why it has none.
 *
 * @param values for each vector: with {@link IrqSet.Data#EVENTFD} what there is, below; with {@link IrqSet.Data#BOOL} 0 or 1
 * @param streams for each vector with {@link #STREAM} the stream's number
 */
record IrqRequest(
    int index,
    IrqSet.Action action,
    IrqSet.Data data,
    int start,
    int count,
    List<Integer> values,
    List<Integer> streams) {
  /** Copies the lists. */
  IrqRequest {
    values = List.copyOf(values);
    streams = List.copyOf(streams);
  }

  /** The vector gets a stream. Negative numbers are what they are to the kernel: none, or illegal. */
  static final int STREAM = 0;

  /** The number is no descriptor: the kernel is to answer EBADF, and do what it does then. */
  static final int NO_DESCRIPTOR = 1;

  /** The number is of another file: the kernel is to answer EINVAL. */
  static final int NO_EVENTFD = 2;

  /** Whether it disables the index. */
  boolean disables() {
    return action == IrqSet.Action.TRIGGER && data == IrqSet.Data.NONE && count == 0;
  }

  /** Whether it assigns or removes what the vectors signal. */
  boolean assigns() {
    return action == IrqSet.Action.TRIGGER && data == IrqSet.Data.EVENTFD;
  }

  Body toBody() {
    WireWriter out = new WireWriter()
        .i32(index)
        .choice(IrqSet.Action.values(), action)
        .choice(IrqSet.Data.values(), data)
        .i32(start)
        .i32(count);
    for (int i = 0; i < values.size(); i++) {
      out.i32(values.get(i));
      if (data == IrqSet.Data.EVENTFD) {
        out.i32(streams.get(i));
      }
    }
    return Body.of(out);
  }

  static IrqRequest read(Body body) {
    WireReader in = body.reader();
    int index = in.natural("an interrupt index");
    IrqSet.Action action = in.choice(IrqSet.Action.values(), "an action");
    IrqSet.Data data = in.choice(IrqSet.Data.values(), "a kind of data");
    int start = in.natural("a vector");
    int count = in.natural("a number of vectors");
    if (start + (long) count > Integer.MAX_VALUE) {
      throw new MalformedFrameException("the range of vectors is too long");
    }
    int values = data == IrqSet.Data.NONE ? 0 : count;
    int each = data == IrqSet.Data.EVENTFD ? 8 : 4;
    if (values > Frame.MAX_STREAMS || (long) values * each != in.remaining()) {
      throw new MalformedFrameException(
          "the values of " + values + " vectors are not " + in.remaining() + " bytes");
    }
    List<Integer> what = new ArrayList<>();
    List<Integer> streams = new ArrayList<>();
    for (int i = 0; i < values; i++) {
      if (data == IrqSet.Data.BOOL) {
        what.add(in.below(2, "a vector's flag"));
      } else {
        what.add(atMost(in.i32("a vector's value")));
        streams.add(in.natural("a stream"));
      }
    }
    in.end();
    return new IrqRequest(index, action, data, start, count, what, streams);
  }

  private static int atMost(int value) {
    if (value > NO_EVENTFD) {
      throw new MalformedFrameException("a vector's value is at most 2, not " + value);
    }
    return value;
  }

  /** The request with these numbers for eventfds, for the device. */
  IrqSet toIrqSet(int[] eventfds) {
    return switch (data) {
      case NONE -> IrqSet.of(index, action, start, count);
      case BOOL -> {
        boolean[] flags = new boolean[values.size()];
        for (int i = 0; i < flags.length; i++) {
          flags[i] = values.get(i) == 1;
        }
        yield IrqSet.where(index, action, start, flags);
      }
      case EVENTFD ->
        action == IrqSet.Action.TRIGGER
            ? IrqSet.assign(index, start, eventfds)
            : IrqSet.unmaskBy(index, start, eventfds[0]);
    };
  }
}
