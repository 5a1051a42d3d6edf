"""What keeps the blocks of a restricted channel from everybody but its members.

blocks     the bytes that enter the order         keys      one key for each epoch of the membership, wrapped for each
orderer    an order that sees sealed bytes alone  audience  who could open what would be sealed now
"""
