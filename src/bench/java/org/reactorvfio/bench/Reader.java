package org.reactorvfio.bench;

import java.util.function.LongConsumer;

/** Something that waits for eventfds and calls a handler on its own thread. */
interface Reader extends AutoCloseable {
  /** The address of the eventfds' numbers, an int array of C. */
  long eventfds();

  /** Starts to call the handler with the count of each event. */
  void start(LongConsumer handler) throws Exception;

  @Override
  void close() throws Exception;

  /** Makes a reader for a number of vectors. */
  @FunctionalInterface
  interface Factory {
    Reader open(int vectors) throws Exception;
  }
}
